"""Checkpoints: everything a bit-exact resume needs, in one file that is whole or not there."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from training.errors import RunError
from zoo.errors import one_line

BEST = "best.pt"
_SUFFIX = ".pt"


def save(
    folder: Path, itr: int, state: dict[str, Any], keep: int, spare: Path | None = None
) -> Path:
    """Writes `itr-XXXXXXXX.pt` atomically, then removes all but the newest `keep`, and `spare`.

    The file is written beside its place, flushed to the disk and renamed, so a crash at any moment
    leaves either the old set of checkpoints or the new one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = at(folder, itr)
    write(path, state)
    for old in _all(folder)[:-keep]:
        if old != spare:
            old.unlink()
    for leftover in folder.glob("*.partial"):  # of a process that was killed while it wrote
        leftover.unlink()
    return path


def write(path: Path, state: dict[str, Any]) -> None:
    """Replaces a file by `state`, so that a crash leaves the old one or the new one."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _sync_folder(path.parent)


def at(folder: Path, itr: int) -> Path:
    """Where the checkpoint of an iteration is, or would be."""
    return folder / f"itr-{itr:08d}{_SUFFIX}"


def newest(folder: Path, before: int | None = None) -> Path | None:
    """The checkpoint with the most iterations, if there is any; of those before an iteration."""
    found = _all(folder)
    if before is not None:
        found = [path for path in found if path < at(folder, before)]
    return max(found, default=None)


def keep_as_best(path: Path) -> None:
    """Gives a checkpoint a second name, `best.pt`, which nothing prunes."""
    partial = path.with_name(f"{BEST}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(path, partial)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, partial)
    partial.replace(path.with_name(BEST))


def set_aside(folder: Path, itr: int) -> list[Path]:
    """Renames the checkpoints from `itr` on to `suspect-itr-XXXXXXXX.pt`, which nothing resumes."""
    moved = []
    for path in _all(folder):
        if path >= at(folder, itr):
            moved.append(path.with_name(f"suspect-{path.name}"))
            path.replace(moved[-1])
    return moved


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU; nothing but tensors and plain values is accepted.

    Raises:
        RunError: the file is missing or is not a checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unreadable(path, "more than tensors and plain values in it, or damaged") from error
    except Exception as error:  # torch.load documents no set of errors
        raise _unreadable(path, one_line(error)) from error
    if not isinstance(state, dict) or "itr" not in state:
        raise RunError(f"{path} is not a checkpoint of a training run")
    return state


def _unreadable(path: Path, why: str) -> RunError:
    return RunError(
        f"{path} is not a readable checkpoint: {why}; remove it to go on from the one before"
    )


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"itr-*{_SUFFIX}"))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # makes the rename itself durable
    finally:
        os.close(descriptor)
