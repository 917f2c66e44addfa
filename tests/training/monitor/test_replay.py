"""`ganagerie monitor replay`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.training.conftest import Cli

HEADER = "step,fid,d_loss_mean\n"


def rows(*values: float) -> str:
    return "".join(f"{1000 * i},{value},1.0\n" for i, value in enumerate(values, 1))


COLLAPSE = (100, 50, 25, 20, 20, 20, 20, 60, 70, 80)


def test_a_line_for_every_change_and_the_final_verdict_last(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_text(HEADER + rows(*COLLAPSE))
    ended = cli("monitor", "replay", "run.csv", "--format", "json")
    assert ended.code == 0
    assert ended.err == ""
    said = [json.loads(line) for line in ended.out.splitlines()]
    assert [(line["itr"], line["verdict"]) for line in said] == [
        (1000, "healthy"),
        (9000, "collapsed"),
        (10000, "collapsed"),
    ]
    assert said[0].keys() == {"itr", "verdict", "reasons"}
    assert said[-1]["reasons"] == ["distance to real images 70, 3.50 times its best"]


def test_for_a_person(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_text(HEADER + rows(*COLLAPSE))
    ended = cli("monitor", "replay", tmp_path / "run.csv")
    assert ended.out.splitlines() == [
        "iteration 1,000: healthy",
        "iteration 9,000: collapsed: distance to real images 60, 3.00 times its best",
        "iteration 10,000: collapsed: distance to real images 70, 3.50 times its best",
    ]


def test_the_final_verdict_is_said_once_where_it_is_the_newest_change(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "run.csv").write_text(HEADER + rows(*COLLAPSE[:9]))
    said = cli("monitor", "replay", "run.csv", "--format", "json").out.splitlines()
    assert [json.loads(line)["itr"] for line in said] == [1000, 9000]
    (tmp_path / "one.csv").write_text(HEADER + rows(7))
    assert cli("monitor", "replay", "one.csv").out == "iteration 1,000: healthy\n"


def test_unreadable_rows_are_counted_and_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_text(HEADER + rows(5, 5) + "x,1,1\n" + "9,1,1\n" * 3)
    ended = cli("monitor", "replay", "run.csv")
    assert ended.code == 0
    assert ended.err == (
        "4 unreadable rows of 6: line 4: step is 'x'; line 5: iteration 9 after 2000; "
        "line 6: iteration 9 after 2000; …\n"
    )


def test_nothing_that_can_be_read(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_text("time,value\n1,2\n")
    ended = cli("monitor", "replay", "run.csv")
    assert ended.code == 2
    assert ended.err == "error: run.csv: no row could be read: line 2: no iteration\n"
    assert cli("monitor", "replay", "gone").err == (
        "error: gone: there is no such file or run directory\n"
    )


def test_a_run_directory(cli: Cli, reference_run: Path) -> None:
    ended = cli("monitor", "replay", reference_run, "--format", "json")
    assert ended.code == 0
    last = json.loads(ended.out.splitlines()[-1])
    assert (last["itr"], last["verdict"]) == (60, "healthy")
