"""docs/monitor.md: its program runs, its commands are there, and its tables are complete."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # type: ignore[import-untyped]  # it ships no types

from tests.conftest import REPOSITORY
from tests.training.conftest import Cli, sets
from tests.training.monitor.recorded import write_run
from training.monitor.remedies import _REMEDIES
from training.monitor.verdict import Health

PAGE = (REPOSITORY / "docs" / "monitor.md").read_text(encoding="utf-8")
OPTIONS = ("monitor.every=2", "monitor.look_every=4", "monitor.samples=64", "monitor.audit=true")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def table(heading: str) -> list[str]:
    """What stands in backticks in the first column of the table under a heading."""
    section = PAGE.partition(f"\n{heading}")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_program_runs_and_can_be_watched(cli: Cli, tmp_path: Path) -> None:
    (program,) = blocks("python")
    assert "TOTAL = 2000\n" in program
    # The losses still have their graphs, as in anybody's loop.
    warnings = ("-W", "error")
    finished = subprocess.run(
        [sys.executable, *warnings, "-c", program.replace("TOTAL = 2000", "TOTAL = 200")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    records = [json.loads(line) for line in (tmp_path / "spectra.jsonl").read_text().splitlines()]
    assert [record["itr"] for record in records] == [50, 100, 150, 200]
    shown = cli("monitor", "watch", "spectra.jsonl", "--once")
    assert shown.code == 0, shown.err
    assert shown.out.splitlines()[1].rstrip() == "iteration 200"
    assert cli("monitor", "report", "spectra.jsonl").code == 0


def test_commands_are_there(cli: Cli, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "starved")
    write_run(tmp_path / "runs" / "letters")
    commands = re.findall(r"^\$ (.*)$", "\n".join(blocks("console")), re.MULTILINE)
    commands += re.findall(r"^    (ganagerie monitor [^#\n]*)", PAGE, re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        finished = cli(*shlex.split(command)[1:])
        assert (finished.code, finished.err) == (0, ""), command


@pytest.mark.usefixtures("few_images")
def test_keys_and_tags_of_a_run(cli: Cli, tmp_path: Path) -> None:
    finished = cli(
        "train", "dcgan-emnist", "--data", "d", "--out", "run", *sets("max_itr=4", *OPTIONS)
    )
    assert finished.code == 0, finished.err
    lines = (tmp_path / "run" / "spectra.jsonl").read_text().splitlines()
    keys = {key for line in lines for key in json.loads(line)}
    assert set(table("## A line of `spectra.jsonl`")) == keys
    documented = table("## TensorBoard")
    tags = set()
    for path in (tmp_path / "run").glob("events.*"):
        for event in EventFileLoader(str(path)).Load():
            tags |= {value.tag for value in event.summary.value}
    patterns = [re.sub("LAYER|KIND|IMAGES|…", ".+", tag) for tag in documented]
    patterns += ["(sigma.|gradient|update)/D/.+"]  # "and of D"
    assert tags
    unknown = {tag for tag in tags if not any(re.fullmatch(p, tag) for p in patterns)}
    assert not unknown
    for pattern in patterns:
        assert any(re.fullmatch(pattern, tag) for tag in tags), pattern


def test_verdicts_and_remedies() -> None:
    assert table("## Verdicts") == [health.value for health in Health]
    assert table("## What a collapse leads to") == list(_REMEDIES)
