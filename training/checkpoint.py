"""Checkpoints: everything a bit-exact resume needs, in one file that is whole or not there."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from training.errors import RunError
from zoo.errors import one_line

_SUFFIX = ".pt"


def save(folder: Path, itr: int, state: dict[str, Any], keep: int) -> Path:
    """Writes `itr-XXXXXXXX.pt` atomically, then removes all but the newest `keep`.

    The file is written beside its place, flushed to the disk and renamed, so a crash at any moment
    leaves either the old set of checkpoints or the new one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"itr-{itr:08d}{_SUFFIX}"
    write(path, state)
    for old in _all(folder)[:-keep]:
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


def newest(folder: Path) -> Path | None:
    """The checkpoint with the most iterations, if there is any."""
    return max(_all(folder), default=None)


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
