"""Starting a run, or going on with one: recipe, data, state and run directory brought together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from training import checkpoint, provenance
from training.config import Recipe
from training.data import ImageSet
from training.errors import RunError
from training.loop import total_itr, train
from training.progress import TrainingProgress
from training.runlog import CHECKPOINTS, RunLog
from training.state import TrainingState
from training.stopping import StopRequest


@dataclass(frozen=True)
class Outcome:
    """How a run ended: iterations done, and how many the recipe asks for."""

    itr: int
    total: int

    @property
    def finished(self) -> bool:
        """Whether the recipe was carried out to its end."""
        return self.itr >= self.total


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one.

    Raises:
        RunError: `cuda` where there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise RunError("--device cuda: torch finds no CUDA device here; use --device cpu or auto")
    return torch.device(name)


def launch(
    recipe: Recipe,
    data: ImageSet,
    out: Path,
    *,
    resume: bool,
    device: torch.device,
    command: list[str],
) -> Outcome:
    """Trains in `out` until the recipe is done or SIGINT or SIGTERM asks to stop.

    Raises:
        TrainingError: whatever is in the way; nothing that was saved is lost.
    """
    state = TrainingState(recipe, device)
    resume_at = None
    if resume:
        path = checkpoint.newest(out / CHECKPOINTS)
        if path is not None:
            state.load_state_dict(checkpoint.load(path))
        elif not out.is_dir():
            raise RunError(f"--resume: there is no run in {out}")
        resume_at = state.itr
    total = total_itr(recipe.epochs, len(data) // recipe.batch_size, recipe.max_itr)
    with (
        StopRequest("stopping: saving a checkpoint (press Ctrl-C again to exit at once)") as stop,
        RunLog(out, recipe, resume_at) as log,
        TrainingProgress(recipe.name, total, state.itr) as progress,
    ):
        if resume_at is None:
            provenance.write(out, command)
        train(state, data, log, progress, stop)
        outcome = Outcome(state.itr, total)
        if outcome.finished:
            provenance.finish(out)
    return outcome
