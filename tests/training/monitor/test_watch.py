"""`ganagerie monitor watch`: one frame, and a run whose files change."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.training.conftest import Cli
from tests.training.monitor.recorded import lines, metric, script, tick, write_run
from training.monitor.verdict import Health
from training.monitor.views.observed import ObservedRun


@pytest.fixture(autouse=True)
def _size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def frame(cli: Cli, path: Path) -> list[str]:
    finished = cli("monitor", "watch", path, "--once")
    assert (finished.code, finished.err) == (0, "")
    return [line.rstrip() for line in finished.out.splitlines()]


def row(shown: list[str], start: str) -> str:
    found = [line for line in shown if line.startswith(start)]
    assert len(found) == 1, f"{len(found)} lines start with {start!r}"
    return " ".join(found[0].split())


def test_frame_says_what_is_known(cli: Cli, tmp_path: Path) -> None:
    shown = frame(cli, write_run(tmp_path / "run"))
    assert shown[0].startswith("toy ")
    assert re.search(r"written \d+ s ago$", shown[0])
    assert re.fullmatch(
        r"iteration 1,000 of 2,000  ━+─+  50%  epoch 1\.0  200 images/s  50 s left", shown[1]
    )
    assert shown[2] == "● HEALTHY"
    assert re.fullmatch(r"  linear +11 +\+37\.5% +▁[▁-█]+█ +█[▁-█]+▁", shown[5])
    assert re.fullmatch(r"  conv +2 +\+0\.0% +▁+ +▁+", shown[6])
    assert row(shown, "loss").startswith("loss D 1.500 ▁")
    assert " G 0.750 ▁" in row(shown, "loss")
    assert " fake -0.500 ▁" in row(shown, "logits")
    assert row(shown, "D is right") == "D is right train 75% held-out 62% fake 50%"
    assert " between 0.800 ▁" in row(shown, "diversity")
    assert row(shown, "proxy FID").endswith("best 40 at 500, real 2.5")
    # 20 ticks of 0.05 s, in 50 s.
    assert (
        row(shown, "monitor") == "monitor 50 ms a tick, 2.00% of the time; growth is over 6 ticks"
    )


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 10), (200, 60), (20, 5)])
def test_frame_fits_the_terminal(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int, rows: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(rows))
    shown = frame(cli, write_run(tmp_path / "run"))
    assert len(shown) <= rows
    assert max(map(len, shown)) <= columns


def test_verdict_and_reasons_can_be_read_without_colour(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run")
    marks = {"healthy": "●", "suspect": "▲", "decaying": "▼", "collapsed": "■"}
    assert marks.keys() == set(Health)
    for health in Health:
        script(monkeypatch, {800: health}, since=750)
        shown = frame(cli, run)
        if health is Health.healthy:
            assert shown[2] == "● HEALTHY"
            continue
        assert shown[2] == f"{marks[health]} {health.upper()}  since iteration 750"
        assert shown[3] == "  sigma0 of <linear> [bold]grows[/bold]"
        assert row(shown, "! linear").startswith("! linear 11")


def test_events_are_shown_newest_first(cli: Cli, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    back = {"event": "rollback", "to_itr": 600, "changed": {"optimizer.g_lr": 0.1}}
    events = [{"itr": 900, **back}, {"itr": 1000, "event": "stop"}, {"itr": 950, **back}]
    (run / "events.jsonl").write_text(lines(events))
    shown = frame(cli, run)
    at = shown.index("events      iteration 950: rolled back to 600, now optimizer.g_lr=0.1")
    assert shown[at + 1].strip() == "iteration 1,000: stop"


@pytest.mark.parametrize(
    ("itr", "resumed", "stopped"),
    [(1000, False, True), (999, False, False), (1100, False, True), (1100, True, False)],
)
def test_run_that_the_monitor_ended(
    cli: Cli, tmp_path: Path, itr: int, resumed: bool, stopped: bool
) -> None:
    run = write_run(tmp_path / "run")
    (run / "events.jsonl").write_text(
        lines([{"itr": itr, "event": "stop"}, *[{"itr": 800, "event": "resume"}] * resumed])
    )
    shown = frame(cli, run)
    assert shown[0].endswith(" stopped") == stopped
    assert ("left" in shown[1]) != stopped


def test_finished_run(cli: Cli, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", last=2000)
    (run / "provenance.json").write_text(json.dumps({"finished": "2026-01-01T00:00:00+00:00"}))
    shown = frame(cli, run)
    assert shown[0].endswith(" finished")
    assert "100%" in shown[1]
    assert "left" not in shown[1]


def test_run_without_a_monitor(cli: Cli, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "spectra.jsonl").unlink()
    shown = frame(cli, run)
    assert shown[2] == "● HEALTHY"
    assert row(shown, "loss").startswith("loss D 1.500")
    assert not [line for line in shown if "σ0" in line]


def test_files_of_other_loops(cli: Cli, tmp_path: Path) -> None:
    foreign = tmp_path / "mine.jsonl"
    foreign.write_text(lines([{"itr": 1, "G": {"fc": [2.0]}}, {"itr": 2, "G": {"fc": [4.0]}}]))
    shown = frame(cli, foreign)
    assert shown[0].startswith("mine.jsonl ")
    assert shown[1] == "iteration 2"
    assert row(shown, "  fc") == "fc 4 – ▁█"  # noqa: RUF001  an en dash is meant
    table = tmp_path / "theirs.csv"
    table.write_text("step,fid,d_loss_mean\n10,30,1\n20,20,2\noops,1,1\n30,25,3\n")
    shown = frame(cli, table)
    assert row(shown, "loss").startswith("loss D 3.000")
    assert row(shown, "FID").endswith("best 20 at 20")
    assert shown[-1] == "1 unreadable row passed over"


def test_terminal_without_unicode(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    shown = subprocess.run(
        [sys.executable, "-m", "ganagerie.cli", "monitor", "watch", run],
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        check=True,
    )
    assert shown.stderr == b""
    text = shown.stdout.decode("ascii")
    assert "o HEALTHY" in text
    assert "s0 so far" in text
    assert "?" not in text


def test_nothing_to_see_is_one_line(cli: Cli, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, message in {
        "nowhere": "nowhere: there is no such file or run directory",
        "nowhere/spectra.jsonl": "nowhere/spectra.jsonl: there is no such file or run directory",
        "empty": "empty: nothing has been recorded yet",
        "soon.jsonl": "soon.jsonl: nothing has been recorded yet",
        "soon.csv": "soon.csv: nothing has been recorded yet",
    }.items():
        finished = cli("monitor", "watch", path, "--once")
        assert (finished.code, finished.out) == (2, "")
        assert finished.err == f"error: {message}\n"


@pytest.mark.parametrize(("every", "code"), [("0.1", 0), ("0.09", 2), ("3600", 0), ("3601", 2)])
def test_limits_of_the_interval(cli: Cli, tmp_path: Path, every: str, code: int) -> None:
    run = write_run(tmp_path / "run")
    assert cli("monitor", "watch", run, "--once", "--every", every).code == code


def test_follows_a_file_that_is_written(tmp_path: Path) -> None:
    path = tmp_path / "spectra.jsonl"
    run = ObservedRun(path)
    run.poll()
    assert (run.verdict, run.itr) == (None, 0)
    path.write_text(lines([tick(50), tick(100)]) + '{"itr": 150, "G": {"lin')
    run.poll()
    assert (run.itr, run.unreadable) == (100, 0)
    run.poll()
    assert run.spectra.rows == 2
    with path.open("a") as file:
        file.write('ear": [7.5]}}\nnot JSON\n{"itr": 150}\n{"itr": 200}\n[]\n')
    run.poll()
    assert run.spectra["G", "linear", "0"].values[-1] == 7.5
    assert (run.itr, run.unreadable) == (200, 3)
    path.unlink()
    run.poll()
    assert (run.verdict, run.itr, run.unreadable) == (None, 0, 0)


@pytest.mark.parametrize("replaced", [True, False])
def test_follows_a_run_that_goes_back(tmp_path: Path, replaced: bool) -> None:
    run_folder = write_run(tmp_path / "run")
    run = ObservedRun(run_folder)
    run.poll()
    assert run.itr == 1000
    for name, record in {"spectra.jsonl": tick, "metrics.jsonl": metric}.items():
        # As long as before, and more: only its content tells that this is another file.
        text = lines([record(itr) for itr in range(50, 601, 50)])
        text += lines([record(itr) for itr in range(625, 1100, 25)])
        target = run_folder / name
        if replaced:
            (run_folder / "new").write_text(text)
            (run_folder / "new").replace(target)
        else:
            target.write_text(text)
    run.poll()
    assert run.itr == 1075
    assert run.spectra["loss", "d"].itrs[10:14] == [550, 600, 625, 650]
    (run_folder / "spectra.jsonl").write_text(lines([tick(50)]))
    (run_folder / "metrics.jsonl").write_text(lines([metric(50)]))
    run.poll()
    assert (run.itr, run.spectra.rows) == (50, 1)
