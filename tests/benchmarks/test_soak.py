"""The soak in short: an honest server passes it, and each fault that it looks for fails it."""

from __future__ import annotations

import re
import subprocess
import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.soak import ending
from benchmarks.soak.__main__ import soak as run_soak
from benchmarks.soak.checks import (
    MAX_GROWTH_MIB,
    MAX_MORE_DESCRIPTORS,
    MAX_MORE_THREADS,
    answered_all_along,
    not_grown,
    not_left,
    not_lost,
)
from benchmarks.soak.client import HUNG_S
from benchmarks.soak.report import WINDOWS, Report
from benchmarks.soak.watching import Sample
from tests.conftest import REPOSITORY


def soak(seconds: float, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", f"{seconds / 60}"]
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_an_honest_server_passes(tmp_path: Path) -> None:
    picture = tmp_path / "soak.png"
    ended = soak(12, "--picture", picture)
    assert (ended.stderr, ended.returncode) == ("", 0)
    *_, last = ended.stdout.splitlines()
    assert last.startswith("Nothing lost, hung or leaked; the same bytes after it; SIGTERM drained")
    rows = [line for line in ended.stdout.splitlines() if line.startswith("| 0.")]
    assert len(rows) == WINDOWS
    assert sum(int(row.split("|")[2]) for row in rows) > 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_server_that_leaks_does_not(tmp_path: Path) -> None:
    ended = soak(8, "--server", "tests.benchmarks.leaking_server")
    assert ended.returncode == 1
    (failed,) = ended.stderr.splitlines()
    assert failed.startswith("FAILED: memory grew by ")
    assert failed.endswith(f" MiB; at most {MAX_GROWTH_MIB:.0f} may be")


def test_a_server_that_stays_after_sigterm_is_told_of_and_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "_ENDS_WITHIN_S", 1.0)
    options = Namespace(
        minutes=4 / 60, seed=0, picture=None, server="tests.benchmarks.lingering_server"
    )
    wrong = run_soak(options, tmp_path)
    told = [text for text in wrong if re.fullmatch(r"still running .* s after SIGTERM", text)]
    assert len(told) == 1
    # In so short a time a busy machine is still warming up.
    assert all(text.startswith("memory grew by ") for text in wrong if text not in told)


QUIET = Sample(0, 200, 14, 20)


def samples(**columns: list[float]) -> list[Sample]:
    still: dict[str, list[float]] = {"memory_mib": [200] * 50, "threads": [14] * 50}
    held = still | columns
    return [
        Sample(i, memory, int(threads), 20)
        for i, (memory, threads) in enumerate(zip(held["memory_mib"], held["threads"], strict=True))
    ]


def rising(per_sample: float) -> list[float]:
    """A straight line whose growth, between the medians of two fifths, is 30 times its slope."""
    return [200 + per_sample * i for i in range(50)]


@pytest.mark.parametrize("more", [0.0, 0.5])
def test_memory_may_grow_by_so_much_after_the_warm_up_and_no_more(more: float) -> None:
    found = not_grown(samples(memory_mib=rising((MAX_GROWTH_MIB + more) / 30)))
    wanted = f"memory grew by {MAX_GROWTH_MIB + more:.1f} MiB; at most {MAX_GROWTH_MIB:.0f} may be"
    assert found == ([wanted] if more else [])


def test_growth_in_the_warm_up_and_single_peaks_are_no_leak() -> None:
    memory = [20.0 * i for i in range(10)] + [200.0] * 40
    memory[45] = 900
    assert not_grown(samples(memory_mib=memory)) == []


@pytest.mark.parametrize("more", [0, 1])
def test_threads_and_descriptors_have_their_bounds(more: int) -> None:
    threads = [14.0] * 25 + [14.0 + MAX_MORE_THREADS + more] * 25
    assert (
        not_grown(samples(threads=threads))
        == [f"{MAX_MORE_THREADS + 1} more threads; at most {MAX_MORE_THREADS} may be"] * more
    )
    after = QUIET._replace(descriptors=20 + MAX_MORE_DESCRIPTORS + more)
    assert (
        not_left(QUIET, after, {})
        == [
            f"{MAX_MORE_DESCRIPTORS + 1} more descriptors open after the load than before; at most "
            f"{MAX_MORE_DESCRIPTORS} may be"
        ]
        * more
    )


def test_what_is_still_on_its_way_is_told() -> None:
    gauges = {"ganagerie_queue_images a": 0.0, "ganagerie_queue_images b": 7.0}
    assert not_left(QUIET, QUIET, gauges) == ["ganagerie_queue_images b is 7 after the load"]


SEEN = Report(answered=Counter({"Generate OK": 10, "GetModel NOT_FOUND": 2}))
SEEN.given_up["Generate"] = 3


@pytest.mark.parametrize(
    ("counted", "wrong"),
    [
        ({"Generate OK": 10}, []),
        ({"Generate OK": 13}, []),
        ({"Generate OK": 11, "Generate CANCELLED": 2}, []),
        ({"Generate OK": 9}, ["Generate OK: clients saw 10 to 13, the server counted 9"]),
        (
            {"Generate OK": 14},
            [
                "Generate OK: clients saw 10 to 13, the server counted 14",
                "Generate: 14 calls counted, but only 13 made",
            ],
        ),
        (
            {"Generate OK": 12, "Generate CANCELLED": 2},
            ["Generate: 14 calls counted, but only 13 made"],
        ),
        ({"Generate OK": 10, "Generate INTERNAL": 1}, ["1 calls ended Generate INTERNAL"]),
        (
            {"Generate OK": 10, "ListModels OK": 1},
            [
                "ListModels OK: clients saw 0 to 0, the server counted 1",
                "ListModels: 1 calls counted, but only 0 made",
            ],
        ),
    ],
)
def test_the_servers_count_agrees_with_what_clients_saw(
    counted: dict[str, int], wrong: list[str]
) -> None:
    assert not_lost(SEEN, Counter({"GetModel NOT_FOUND": 2} | counted)) == wrong


def test_a_long_time_without_answers_is_noticed() -> None:
    windows = {window: (1, 1.0, 1.0) for window in range(WINDOWS) if window != 4}
    report, short_s = Report(windows=windows), WINDOWS * HUNG_S
    assert answered_all_along(report, short_s) == [f"no answers in parts [5] of {WINDOWS}"]
    assert answered_all_along(report, short_s - 1) == []


def test_a_report_survives_the_way_between_processes() -> None:
    report = Report(Counter({"Generate OK": 1}), Counter({"Generate": 2}), Counter({"noise": 3}))
    report.windows[3] = (10, 1.5, 2.5)
    for i in range(30):
        report.complain(str(i))
    assert report.wrong == [str(i) for i in range(20)]
    assert Report.from_json(report.to_json()) == report
    both = Report.together([report, SEEN])
    assert both.answered == {"Generate OK": 11, "GetModel NOT_FOUND": 2}
    assert both.windows == report.windows
