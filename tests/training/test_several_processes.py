"""Training under torchrun: on a CPU, over gloo."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.conftest import Cli, metrics
from tests.training.small_biggan import TINY
from tests.training.test_resume import differences, newest_itr, saved


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "ganagerie.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_several_processes_need_one_folder(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused = cli("train", "biggan-emnist")
    assert refused.code == 2
    assert refused.err == "error: 2 processes share one run directory: name it with --out\n"
    refused = cli("train", "biggan-emnist", "--out", "run", "--data", "my data", "--download")
    assert refused.code == 2
    assert refused.err == (
        "error: --download: 2 processes would write the same files at once; fetch them first, in "
        "one process: ganagerie train biggan-emnist --data 'my data' --download --set max_itr=1\n"
    )
    assert cli("train", "biggan-emnist", "--dry-run").code == 0


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
    said = (tmp_path / "err").read_text()
    assert stopped_at > 0, said[-3000:]
    assert (
        f"Go on with:\n  torchrun --nproc-per-node 2 -m ganagerie.cli train biggan-emnist --data "
        f"{data_folder} --out {run} --resume --device cpu\n"
    ) in said
    end = stopped_at + 2
    done = torchrun(*options, "--set", f"max_itr={end}", "--out", run, "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    done = torchrun(*options, "--set", f"max_itr={end}", "--out", whole)
    assert done.returncode == 0, done.stderr[-3000:]
    states = [saved(folder, end) for folder in (run, whole)]
    assert differences(states[0], states[1]) == []


def test_dcgan_trains_in_one_process(data_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = torchrun("train", "dcgan-emnist", "--data", data_folder, "--device", "cpu", "--out", run)
    assert done.returncode != 0
    assert (
        "error: network dcgan trains in one process, not 2: its batch norm and its step do not "
        "look beyond their own; start it without torchrun" in done.stderr
    )
    assert not run.exists()


def test_two_processes_reach_the_losses_of_one(cli: Cli, data_folder: Path, tmp_path: Path) -> None:
    sets = [
        part
        for value in (
            *(*TINY, "max_itr=4", "log_every=1", "d_steps=2", "batch_size=16"),
            *("monitor.look_every=2", "monitor.samples=64"),
        )
        for part in ("--set", value)
    ]
    options = ["train", "biggan-emnist", "--data", str(data_folder), "--device", "cpu", *sets]
    assert cli(*options, "--out", tmp_path / "one").code == 0
    done = torchrun(*options, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [record["itr"] for record in two] == [1, 2, 3, 4]
    for mine, theirs in zip(one, two, strict=True):
        for key in ("d", "g"):
            assert theirs["loss"][key] == pytest.approx(mine["loss"][key], abs=2e-4)
    looks = [
        [record for line in text.splitlines() if "proxy_fid" in (record := json.loads(line))]
        for text in ((tmp_path / name / "spectra.jsonl").read_text() for name in ("one", "two"))
    ]
    for mine, theirs in zip(*looks, strict=True):  # made by the leading process alone
        assert mine["itr"] == theirs["itr"]
        assert theirs["proxy_fid"] == pytest.approx(mine["proxy_fid"], rel=0.01)
    assert [record["itr"] for record in looks[0]] == [2, 4]
    checkpoints = sorted(path.name for path in (tmp_path / "two" / "checkpoints").iterdir())
    assert checkpoints == ["best.pt", "itr-00000004.pt"]
    assert done.stdout.count("name: biggan-emnist") == 1  # one of them speaks
    assert done.stderr.count("finished after 4 iterations") == 1
