"""The first signal saves and ends well, the second one ends at once."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.conftest import Cli, Start, Training, itrs, sets
from training import checkpoint
from training.steps import Draw, SimultaneousStep

STOPPING = "stopping: saving a checkpoint (press Ctrl-C again to exit at once)"


def send_in_step(monkeypatch: pytest.MonkeyPatch, number: signal.Signals, itr: int) -> None:
    """The signal comes in the middle of iteration `itr` of the first run."""
    step, calls = SimultaneousStep.__call__, itertools.count(1)

    def stepped(self: SimultaneousStep, draw: Draw) -> dict[str, torch.Tensor]:
        if next(calls) == itr:
            signal.raise_signal(number)
        return step(self, draw)

    monkeypatch.setattr(SimultaneousStep, "__call__", stepped)


def test_process_keeps_others_out_and_ends_well_on_an_interrupt(
    cli: Cli, data_folder: Path, tmp_path: Path, start: Start
) -> None:
    run, command = tmp_path / "run", ("--data", data_folder, "--out", "run")
    options = sets("max_itr=1000000", "epochs=1000", "checkpoint_every=1000000")
    training = start(tmp_path, *command, *options)
    training.wait_until(lambda: bool(itrs(run)))
    config = (run / "config.yaml").read_text()
    for resume in ([], ["--resume", "--set", "seed=5"]):
        refused = cli("train", "dcgan-emnist", *command, *resume)
        assert refused.code == 2
        assert refused.err.splitlines()[-1] == ("error: run is in use by another training process")
    assert (run / "config.yaml").read_text() == config

    training.process.send_signal(signal.SIGINT)
    ended = training.finish()
    assert ended.code == 0, ended.err
    last = itrs(run)[-1]
    assert itrs(run) == list(range(1, last + 1))
    assert f"\n{STOPPING}\n" in ended.err
    assert ended.err.splitlines()[-2] == (
        f"stopped at iteration {last:,} of 1,000,000, saved. Go on with:"
    )
    newest = checkpoint.newest(run / "checkpoints")
    assert newest is not None
    assert checkpoint.load(newest)["itr"] == last
    assert (run / "samples" / f"{last:08d}.png").exists()
    assert not list(run.rglob("*.partial"))
    assert "Traceback" not in ended.err


@pytest.mark.usefixtures("few_images")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_iteration_in_hand_is_finished_and_saved(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    send_in_step(monkeypatch, number, 3)
    options = sets("log_every=50", "max_itr=2000", "epochs=1000")
    ended = cli("train", "dcgan-emnist", "--data", "d", "--out", "run", *options)
    assert ended.code == 0
    assert "stopped at iteration 3 of 2,000, saved. Go on with:\n" in ended.err
    assert "finished" not in ended.err
    checkpoints = (tmp_path / "run" / "checkpoints").iterdir()
    assert [path.name for path in checkpoints] == ["itr-00000003.pt"]
    assert itrs(tmp_path / "run") == [3]
    assert not list(tmp_path.rglob("*.partial"))
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.usefixtures("few_images")
def test_signal_in_the_last_iteration_finishes_the_run(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_in_step(monkeypatch, signal.SIGINT, 4)
    ended = cli("train", "dcgan-emnist", "--data", "d", "--out", "run", *sets("max_itr=4"))
    assert ended.code == 0
    assert ended.err.splitlines()[-1] == "finished after 4 iterations: run"
    assert itrs(tmp_path / "run") == [1, 2, 3, 4]


@pytest.mark.usefixtures("few_images")
def test_command_that_is_printed_goes_on(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_in_step(monkeypatch, signal.SIGINT, 3)
    ended = cli("train", "dcgan-emnist", "--data", "d", "--out", "run", *sets("max_itr=5"))
    program, *arguments = shlex.split(ended.err.splitlines()[-1])
    assert program == "ganagerie"
    resumed = cli(*arguments)
    assert resumed.code == 0, resumed.err
    assert itrs(tmp_path / "run") == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("few_images")
@pytest.mark.parametrize("option", [("--data", "my data"), ("--out", "my run")])
def test_command_that_is_printed_repeats_what_is_needed(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, option: tuple[str, str]
) -> None:
    send_in_step(monkeypatch, signal.SIGINT, 3)
    options = {"--data": "d", "--out": "run"} | dict([option])
    given = [part for pair in options.items() for part in pair]
    ended = cli("train", "dcgan-emnist", *given, *sets())
    printed = shlex.split(ended.err.splitlines()[-1])
    assert option in itertools.pairwise(printed)


def test_second_interrupt_ends_at_once(data_folder: Path, tmp_path: Path, start: Start) -> None:
    # Pipes that nobody reads, in place of the files of checkpoints: saving takes for ever.
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    for itr in range(1, 5000):
        os.mkfifo(checkpoints / f"itr-{itr:08d}.partial")
    options = sets("max_itr=1000000", "epochs=1000", "checkpoint_every=1000000")
    training: Training = start(tmp_path, "--data", data_folder, "--out", "run", *options)
    training.wait_until(lambda: bool(itrs(tmp_path / "run")))
    training.process.send_signal(signal.SIGINT)
    training.wait_until(lambda: STOPPING in training.err)
    training.process.send_signal(signal.SIGINT)
    ended = training.finish(timeout_s=30)
    assert ended.code == 128 + signal.SIGINT
    assert "stopped at iteration" not in ended.err
    assert "Traceback" not in ended.err
    assert checkpoint.newest(checkpoints) is None


@pytest.mark.parametrize(
    ("signals", "code"),
    [(["SIGINT"], 7), (["SIGINT", "SIGINT"], 130), (["SIGINT", "SIGTERM"], 143)],
)
def test_request(signals: list[str], code: int) -> None:
    sending = "; ".join(f"signal.raise_signal(signal.{name})" for name in signals)
    program = (
        "import signal, sys\n"
        "from training.stopping import StopRequest\n"
        "with StopRequest('one moment') as stop:\n"
        f"    assert not stop.requested; {sending}; assert stop.requested\n"
        "sys.exit(7)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (code, "\none moment\n")
