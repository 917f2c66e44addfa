"""Tiny runs, in this process and in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch

from ganagerie import cli as command_line
from training.config import Recipe, load_recipe
from training.data import ImageSet, load_emnist
from training.monitor.collapse import Detector
from training.monitor.verdict import Health, Reason, Verdict

LAST = 60
# High rates and an early average, so that 60 iterations tell the average from the weights.
TINY = (
    "network.channels=[16,8,4]",
    "network.linear_features=32",
    "batch_size=16",
    "optimizer.g_lr=0.002",
    "optimizer.d_lr=0.002",
    "ema.decay=0.9",
    "ema.start_itr=5",
    "log_every=1",
    "checkpoint_every=10",
    "keep_checkpoints=100",
    f"max_itr={LAST}",
)


def sets(*overrides: str) -> list[str]:
    """`--set` options of a tiny run, then those given."""
    return [part for override in (*TINY, *overrides) for part in ("--set", override)]


def tiny(*overrides: str) -> Recipe:
    """The recipe of a tiny run."""
    return load_recipe("dcgan-emnist", [*TINY, *overrides])


def metrics(run: Path) -> list[dict[str, Any]]:
    """The whole lines of a run's `metrics.jsonl`; none where it is not there yet."""
    path = run / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def itrs(run: Path) -> list[int]:
    """The logged iterations of a run, in order."""
    return [record["itr"] for record in metrics(run)]


def synthetic(n: int) -> ImageSet:
    """Some bright squares on black."""
    images = torch.zeros(n, 1, 28, 28, dtype=torch.uint8)
    for i in range(n):
        images[i, 0, 4 + i % 5 : 16 + i % 5, 4 + i % 7 : 18 + i % 7] = 255
    return ImageSet(images, torch.zeros(n, dtype=torch.int64), ("square",))


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str


class Cli(Protocol):
    """Runs the command line in this process."""

    def __call__(self, *arguments: str | Path) -> Finished: ...


class Training:
    """`ganagerie train dcgan-emnist` in a process of its own, on one core."""

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "stdout.txt", folder / "stderr.txt"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ganagerie.cli", "train", "dcgan-emnist", "--device", "cpu"]
                + [str(argument) for argument in arguments],
                cwd=folder,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=out,
                stderr=err,
            )

    @property
    def err(self) -> str:
        """What it has written to stderr so far."""
        return self._err.read_text()

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 120) -> None:
        """Polls; fails if the process ends before."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, f"ended too early: {self.err}"
            assert time.monotonic() < deadline, f"waited {timeout_s} s in vain: {self.err}"
            time.sleep(0.01)

    def finish(self, timeout_s: float = 120) -> Finished:
        """Waits for its end."""
        code = self.process.wait(timeout_s)
        return Finished(code, self._out.read_text(), self.err)

    def kill(self) -> None:
        """Ends it at once, if it has not ended."""
        self.process.kill()
        self.process.wait()


class Start(Protocol):
    """Starts a training process, which does not outlive the test."""

    def __call__(self, folder: Path, *arguments: str | Path) -> Training: ...


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    # Tiny networks do not profit from a second thread, and suffer where another job has the core.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Runs commands in an empty folder, without `GANAGERIE_DATA`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GANAGERIE_DATA", raising=False)

    def call(*arguments: str | Path) -> Finished:
        monkeypatch.setattr(sys, "argv", ["ganagerie", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Finished(ended.value.code, printed.out, printed.err)

    return call


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line trains on 64 synthetic images."""
    monkeypatch.setattr("training.data.load_emnist", lambda *_, **__: synthetic(64))


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts training processes and ends them after the test."""
    started: list[Training] = []

    def begin(folder: Path, *arguments: str | Path) -> Training:
        started.append(Training(folder, *arguments))
        return started[-1]

    yield begin
    for training in started:
        training.kill()


@pytest.fixture(scope="session")
def reference_run(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run on EMNIST that nothing interrupted; not to be changed."""
    folder = tmp_path_factory.mktemp("reference")
    finished = Training(folder, "--data", data_folder, "--out", "run", *sets()).finish()
    assert finished.code == 0, finished.err
    return folder / "run"


@pytest.fixture(scope="session")
def emnist(data_folder: Path) -> ImageSet:
    """The training images."""
    return load_emnist(data_folder)


@pytest.fixture
def collapse_at(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The detector suspects a run from one iteration on, and gives it up at another."""
    at = {"suspect": 23, "collapsed": 31}

    def observe(self: Detector, record: dict[str, Any]) -> Verdict:
        itr = record["itr"]
        reasons = (Reason("sigma0", "G.linears.3", "as the test says"),)
        self.verdict = Verdict(itr)
        if itr >= at["suspect"]:
            health = Health.collapsed if itr >= at["collapsed"] else Health.suspect
            self._before = at["suspect"] - 1
            self.verdict = Verdict(itr, health, reasons, at["suspect"] - 1)
        return self.verdict

    monkeypatch.setattr(Detector, "observe", observe)
    return at
