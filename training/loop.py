"""The training loop: draw, step, average; now and then log, sample, save."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training import checkpoint
from training.batches import BatchSource
from training.config import Recipe
from training.data import Images
from training.distributed import ALONE, World
from training.ema import standing_statistics
from training.errors import CollapsedError
from training.guard import Action, Guard
from training.networks import pixel_range
from training.progress import TrainingProgress
from training.runlog import RunLog
from training.state import TrainingState
from training.steps import Inputs
from training.stopping import StopRequest

_COLUMNS, _ROWS = 8, 8  # of a sample grid; with classes, a row a class up to
_MOST_ROWS = 50
_GRID_STATISTICS = 8  # batches of 128 that batch norm is re-estimated from, for a grid


@dataclass(frozen=True)
class Record:
    """Where a run is written down, shown, and guarded."""

    log: RunLog
    progress: TrainingProgress
    guard: Guard

    def metrics(self, values: dict[str, Any]) -> None:
        """One line of the log."""
        self.log.metrics(values)
        loss = values["loss"]
        self.progress.show(
            values["itr"],
            f"epoch {values['epoch']:.1f}  D {loss['d']:.3f}  G {loss['g']:.3f}  "
            f"{values['images_per_s']:.0f} images/s",
        )


def train(
    state: TrainingState,
    data: Images,
    record: Record | None,
    checkpoints: Path,
    stop: StopRequest,
    world: World = ALONE,
) -> None:
    """Runs from `state.itr` to the end of the recipe, or until asked to stop; saves either way.

    Of several processes that share the batches, only the leading one has a record to keep. After a
    collapse the run goes back to a checkpoint in `checkpoints`, or ends, as its recipe says.

    Raises:
        CollapsedError: the run is not worth going on with; nothing good was overwritten.
    """
    device = next(state.generator.parameters()).device
    if record is not None and state.itr == 0 and state.recipe.monitor.on_collapse == "rollback":
        record.guard.save()  # there is always something to go back to
    action = Action.roll_back
    while action is Action.roll_back:
        action = _train_on(state, data, record, stop, world)
        if action is Action.roll_back:
            itr = record.guard.roll_back() if record is not None else 0
            itr = world.highest(itr, device)  # and nobody reads before it is written
            restore(state, checkpoint.load(checkpoint.at(checkpoints, itr)), record)
    if action is Action.give_up:
        raise record.guard.give_up() if record else CollapsedError("the run has collapsed")


def restore(state: TrainingState, saved: dict[str, Any], record: Record | None) -> None:
    """Goes on from a checkpoint, with the recipe in it."""
    state.adopt(Recipe.model_validate(saved["recipe"]))
    state.load_state_dict(saved)
    if record is not None:
        record.guard.load_state_dict(saved.get("monitor"))


def _train_on(
    state: TrainingState, data: Images, record: Record | None, stop: StopRequest, world: World
) -> Action:
    """Iterates until something else has to be done, or all is done."""
    recipe, device = state.recipe, next(state.generator.parameters()).device
    source = BatchSource(recipe, data, pixel_range(state.generator), device, world.rank, world.size)
    total = total_itr(state, len(data))
    grid = source.samples(_COLUMNS, min(source.n_classes, _MOST_ROWS) or _ROWS)
    meter = _Meter(source.images_per_itr)

    while state.itr < total:
        outcome = state.step(source.draw(state.itr))
        state.itr += 1
        state.images_seen += source.images_per_itr
        state.ema.update(state.itr)

        # Read once: a signal after this line counts next time round.
        action = Action.stop if stop.requested else Action.go_on
        saving = state.itr % recipe.checkpoint_every == 0
        if record is not None:
            verdict = record.guard.observe(outcome, state.images_seen, look=saving)
            record.progress.advance(state.itr, verdict)
            action = max(action, record.guard.action())
        action = Action(world.highest(action, device))
        if action > Action.stop:
            return action  # before anything is written over what is good
        stopping = action is Action.stop
        last = stopping or state.itr == total
        logging = last or state.itr % recipe.log_every == 0
        if logging:
            outcome = world.average(outcome)
        if record is not None:
            meter.add()
            if logging:
                record.metrics(_metrics(state, source, outcome, meter))
            if last or state.itr % recipe.sample_every == 0:
                record.log.samples(state.itr, _sample(state, source, grid), _COLUMNS)
            if last or saving:
                record.guard.save()
        if stopping:
            return action
    return Action.go_on


def total_itr(state: TrainingState, n_images: int) -> int:
    """How many iterations, updates of G, the recipe asks for: those done, and those to come."""
    recipe = state.recipe
    batches = recipe.epochs * (n_images // recipe.batch_size)
    to_come = (batches - state.images_seen // recipe.batch_size) // recipe.d_steps
    whole = max(1, state.itr + to_come)
    return whole if recipe.max_itr is None else min(whole, recipe.max_itr)


class _Meter:
    """Images per second since the last reading."""

    def __init__(self, images_per_itr: int) -> None:
        self._images_per_itr = images_per_itr
        self._since_s, self._itrs = time.monotonic(), 0

    def add(self) -> None:
        self._itrs += 1

    def read(self) -> float:
        now = time.monotonic()
        rate = self._itrs * self._images_per_itr / (now - self._since_s)
        self._since_s, self._itrs = now, 0
        return rate


def _metrics(
    state: TrainingState, source: BatchSource, outcome: dict[str, torch.Tensor], meter: _Meter
) -> dict[str, Any]:
    values = {key: value.item() for key, value in outcome.items()}
    return {
        "itr": state.itr,
        "images_seen": state.images_seen,
        "epoch": round(state.images_seen / source.images_per_epoch, 3),
        "loss": {"d": values["loss_d"], "g": values["loss_g"]},
        "logits": {"real": values["real"], "fake": values["fake"]},
        "images_per_s": round(meter.read(), 1),
    }


def _sample(state: TrainingState, source: BatchSource, grid: Inputs) -> torch.Tensor:
    """Images of the averaged generator, float32 [N, C, H, W] in [0, 1]."""
    generator = copy.deepcopy(state.ema.module)
    standing_statistics(generator, source.statistics(_GRID_STATISTICS))
    low, high = pixel_range(generator)
    with torch.no_grad():
        images: torch.Tensor = generator(*grid).cpu()
    images -= low
    return images / (high - low)
