"""Training the collapse suite: what an interrupted run left behind, and a run that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def train_all(out: Path, data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.collapse.train_all", "dcgan-31"]
    command += ["--out", str(out), "--data", str(data), "--jobs", "1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_what_an_interrupted_run_left_is_cleared_and_a_failure_is_told(tmp_path: Path) -> None:
    left = tmp_path / "out" / "dcgan-31" / "metrics.jsonl"
    left.parent.mkdir(parents=True)
    left.touch()
    done = train_all(tmp_path / "out", tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout == f"dcgan-31: failed, see {left.parent}/log.txt\n"
    assert not left.exists()
    assert f"no EMNIST in {tmp_path}" in left.with_name("log.txt").read_text()


def test_what_is_there_is_not_trained_again(tmp_path: Path) -> None:
    truth = tmp_path / "out" / "dcgan-31" / "truth.csv"
    truth.parent.mkdir(parents=True)
    truth.touch()
    done = train_all(tmp_path / "out", tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert truth.exists()
