"""Starting a run, or going on with one: recipe, data, state and run directory brought together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training import checkpoint, provenance
from training.batches import order_of
from training.config import Recipe
from training.data import Images
from training.distributed import World, join
from training.errors import RunError
from training.guard import Guard
from training.loop import Record, total_itr, train
from training.monitor.exporter import TrainingGauges
from training.networks import subject_of
from training.progress import TrainingProgress
from training.runlog import CHECKPOINTS, EVENTS, RunLog
from training.state import TrainingState
from training.stopping import StopRequest
from zoo.errors import one_line

# What the iterations that are already done depend on.
_FIXED = (
    "name",
    "seed",
    "dataset",
    "network",
    "initializer",
    "batch_size",
    "d_steps",
    "class_balanced",
    "flips",
)
_STOPPING = "stopping: saving a checkpoint (press Ctrl-C again to exit at once)"


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
    data: Images,
    out: Path,
    *,
    held_out: Images | None = None,
    resume: bool,
    device: torch.device,
    command: list[str],
    gauges: TrainingGauges | None = None,
) -> Outcome:
    """Trains in `out` until the recipe is done or SIGINT or SIGTERM asks to stop.

    Under torchrun this is one of several processes that share every batch. `gauges`, if any, are
    told the newest numbers by the one that leads.

    Raises:
        TrainingError: whatever is in the way; nothing that was saved is lost.
    """
    with join(device) as (world, own_device):
        order_of(recipe, data, world.size)  # before anything is written
        if world.size > 1 and not recipe.alternates:
            raise RunError(
                f"network {recipe.network.architecture} trains in one process, not {world.size}: "
                "its batch norm and its step do not look beyond their own; start it without "
                "torchrun"
            )
        state = TrainingState(recipe, own_device, subject_of(data), world)
        saved = _newest_checkpoint(recipe, out) if resume else None
        if saved is not None:
            state.load_state_dict(saved)
        with StopRequest(_STOPPING if world.leads else "") as stop:
            try:
                if not world.leads:
                    train(state, data, None, out / CHECKPOINTS, stop, world)
                    return Outcome(state.itr, total_itr(state, len(data)))
                resume_at = state.itr if resume else None
                with RunLog(out, recipe, resume_at, gauges) as log:
                    guard = Guard(state, data, held_out, log)
                    if saved is not None:
                        guard.load_state_dict(saved.get("monitor"))
                    if resume_at is None:
                        provenance.write(out, command)
                    else:
                        log.resumed(resume_at)
                    return _lead(state, data, guard, log, stop, world)
            except OSError as error:
                raise RunError(f"{out}: cannot be written: {one_line(error)}") from error


def _lead(
    state: TrainingState,
    data: Images,
    guard: Guard,
    log: RunLog,
    stop: StopRequest,
    world: World,
) -> Outcome:
    """Trains, and keeps the run directory."""
    begun_at, total = state.itr, total_itr(state, len(data))
    if 0 < begun_at < total:
        provenance.set_finished(log.folder, finished=False)
    with TrainingProgress(state.recipe.name, total, begun_at) as progress:
        train(state, data, Record(log, progress, guard), log.checkpoints, stop, world)
        outcome = Outcome(state.itr, total_itr(state, len(data)))
        if outcome.finished and begun_at < total:
            provenance.set_finished(log.folder, finished=True)
    return outcome


def _newest_checkpoint(recipe: Recipe, out: Path) -> dict[str, Any] | None:
    """The newest checkpoint, if there is one.

    Raises:
        RunError: no run, or one that this recipe cannot go on with.
    """
    path = checkpoint.newest(out / CHECKPOINTS)
    if path is None:
        if not out.is_dir():
            raise RunError(f"--resume: there is no run in {out}")
        if (out / EVENTS).exists():
            raise RunError(
                f"--resume: the run in {out} has collapsed, and no checkpoint is from before it. "
                "Start a new run: another folder with --out"
            )
        return None
    saved = checkpoint.load(path)
    # Keys that came later than the checkpoint have their defaults.
    then = Recipe.model_validate(saved["recipe"]).model_dump(mode="json")
    now = recipe.model_dump(mode="json")
    for key in _FIXED:
        if then[key] != now[key]:
            raise RunError(
                f"--resume: {key} cannot change during a run; it is {then[key]!r}, "
                f"not {now[key]!r}. Start a new run for that"
            )
    return saved
