"""Training under torchrun that is interrupted: on a CPU, over gloo."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.training.small_biggan import TINY
from tests.training.test_alternating_step import torchrun
from tests.training.test_resume import differences, newest_itr, saved


def test_two_processes_stop_together_and_go_on_bit_by_bit(
    data_folder: Path, tmp_path: Path
) -> None:
    values = [*TINY, "log_every=1", "d_steps=1", "batch_size=16"]
    sets = [part for value in values for part in ("--set", value)]
    options = ["train", "biggan-emnist", "--data", str(data_folder), "--device", "cpu", *sets]
    run, whole = tmp_path / "run", tmp_path / "whole"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "ganagerie.cli", *options, "--out", str(run)]
    with (
        (tmp_path / "err").open("w+") as err,
        subprocess.Popen(command, stderr=err, stdout=subprocess.DEVNULL) as process,
    ):
        deadline_s = time.monotonic() + 120
        while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_text():
            assert process.poll() is None, (tmp_path / "err").read_text()[-3000:]
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.wait(120)
    stopped_at = newest_itr(run)
    assert stopped_at > 0, (tmp_path / "err").read_text()[-3000:]
    end = stopped_at + 2
    done = torchrun(*options, "--set", f"max_itr={end}", "--out", run, "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    done = torchrun(*options, "--set", f"max_itr={end}", "--out", whole)
    assert done.returncode == 0, done.stderr[-3000:]
    states = [saved(folder, end) for folder in (run, whole)]
    assert differences(states[0], states[1]) == []
