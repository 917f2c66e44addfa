"""A run directory: the resolved recipe, metrics, sample grids, TensorBoard events, checkpoints."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid, save_image

from training import checkpoint
from training.config import Recipe, load_recipe
from training.errors import RunError
from training.monitor.exporter import TrainingGauges
from training.monitor.gauges import scalars
from training.monitor.verdict import Health, Verdict

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
SPECTRA = "spectra.jsonl"
EVENTS = "events.jsonl"
ROLLBACKS = "rollbacks"
CHECKPOINTS = "checkpoints"
SAMPLES = "samples"
PROVENANCE = "provenance.json"
_SERIES = (METRICS, SPECTRA)


class RunLog:
    """Writes one run directory; entered by one process at a time.

    Args:
        folder: made if missing.
        resume_at: iteration to go on from; lines and grids of later iterations, which a killed
            process may have left behind, are removed. None starts a new run.
        gauges: are told what is written.

    Raises:
        RunError: the folder cannot be written, is in use, or holds a run that this would overwrite.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        resume_at: int | None,
        gauges: TrainingGauges | None = None,
    ) -> None:
        self.folder = folder
        self.checkpoints = folder / CHECKPOINTS
        self._recipe = recipe
        self._resume_at = resume_at
        self._gauges = gauges

    def __enter__(self) -> RunLog:
        try:
            (self.folder / SAMPLES).mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / ".lock").open("w")
        except OSError as error:
            raise RunError(f"cannot write to {self.folder}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise RunError(f"{self.folder} is in use by another training process") from error
        if self._resume_at is None and (self.folder / METRICS).exists():
            self._lock.close()
            raise RunError(
                f"{self.folder} holds a run already; add --resume to go on with it, "
                "or name another folder with --out"
            )
        write_text_atomically(self.folder / CONFIG, self._recipe.to_yaml())
        self._open(self._resume_at)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
        self._lock.close()

    def _open(self, resume_at: int | None) -> None:
        self._series = {}
        after = None if resume_at is None else resume_at + 1
        if resume_at is not None:
            for grid in self._grids_after(resume_at):
                grid.unlink()
        for name in _SERIES:
            if resume_at is not None:
                _forget_after(self.folder / name, resume_at)
            self._series[name] = (self.folder / name).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(self.folder), purge_step=after)

    def _grids_after(self, itr: int) -> list[Path]:
        grids = (self.folder / SAMPLES).glob("*.png")
        return [path for path in grids if path.stem.isdecimal() and int(path.stem) > itr]

    def _close(self) -> None:
        self._board.close()
        for file in self._series.values():
            file.close()

    def metrics(self, record: dict[str, Any]) -> None:
        """Appends one line to `metrics.jsonl`, and its numbers to TensorBoard."""
        self._append(METRICS, record)
        if self._gauges is not None:
            self._gauges.metrics(record)
        for name, value in _flatten(record):
            if name != "itr":
                self._board.add_scalar(name, value, record["itr"])

    def spectra(self, record: dict[str, Any], verdict: Verdict) -> None:
        """Appends a tick of the monitor to `spectra.jsonl`, and its numbers to TensorBoard.

        Tags: `sigma0/G/linear` and so on, `gradient/…`, `update/…`, `monitor/…`.
        """
        self._append(SPECTRA, record)
        if self._gauges is not None:
            self._gauges.spectra(record, verdict)
        itr = record["itr"]
        for name, value in scalars(record):
            self._board.add_scalar(name, value, itr)
        self._board.add_scalar("monitor/verdict", list(Health).index(verdict.health), itr)

    def event(self, record: dict[str, Any]) -> None:
        """Appends a line to `events.jsonl`: a rollback, a stop after a collapse, or a resume."""
        with (self.folder / EVENTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def resumed(self, itr: int) -> None:
        """Notes that a run of which there are events goes on, so that a stop is not its end."""
        if (self.folder / EVENTS).exists():
            self.event({"itr": itr, "event": "resume"})

    def roll_back(self, itr: int, recipe: Recipe) -> None:
        """Goes on from `itr` with another recipe; lines and grids are kept under `rollbacks/`.

        Later checkpoints are set aside, when `config.yaml` has the recipe.
        """
        self._close()
        kept = self.folder / ROLLBACKS
        kept.mkdir(exist_ok=True)
        folder = kept / f"{len(list(kept.iterdir())) + 1:02d}"
        folder.mkdir()
        for name in _SERIES:
            shutil.copyfile(self.folder / name, folder / name)
        shutil.copyfile(self.folder / CONFIG, folder / CONFIG)
        (folder / SAMPLES).mkdir()
        for grid in self._grids_after(itr):
            shutil.copyfile(grid, folder / SAMPLES / grid.name)
        write_text_atomically(self.folder / CONFIG, recipe.to_yaml())
        checkpoint.set_aside(self.checkpoints, itr + 1)
        self._open(itr)

    def _append(self, name: str, record: dict[str, Any]) -> None:
        self._series[name].write(json.dumps(record) + "\n")
        self._series[name].flush()

    def samples(self, itr: int, images: torch.Tensor, columns: int) -> None:
        """Saves a grid of images float32 [N, C, H, W] in [0, 1]."""
        grid = make_grid(images, nrow=columns, padding=2)
        save_image(grid, self.folder / SAMPLES / f"{itr:08d}.png")
        self._board.add_image("samples", grid, itr)


def read_recipe(folder: Path, overrides: list[str]) -> Recipe:
    """The recipe that a run was started with, with overrides applied.

    Raises:
        RunError: there is no run in `folder`.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise RunError(f"{folder} holds no run: {CONFIG} is missing")
    return load_recipe(str(path), overrides)


def write_text_atomically(path: Path, text: str) -> None:
    """Replaces a file's content, so that a crash leaves the old text or the new one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _forget_after(path: Path, itr: int) -> None:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if _itr_of(line) <= itr]
    write_text_atomically(path, "".join(f"{line}\n" for line in kept))


def _itr_of(line: str) -> float:
    try:
        return float(json.loads(line)["itr"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # the torn last line of a killed process


def _flatten(record: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    flat: list[tuple[str, float]] = []
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat += _flatten(value, f"{name}/")
        elif isinstance(value, int | float):
            flat.append((name, value))
    return flat
