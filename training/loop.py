"""The training loop: draw, step, average; now and then log, sample, save."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import Any

import torch

from training import checkpoint
from training.batches import BatchSource
from training.config import Recipe
from training.data import Images
from training.distributed import ALONE, World
from training.ema import standing_statistics
from training.errors import DivergedError
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
    """Where a run is written down, and shown."""

    log: RunLog
    progress: TrainingProgress

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
    stop: StopRequest,
    world: World = ALONE,
) -> None:
    """Runs from `state.itr` to the end of the recipe, or until asked to stop; saves either way.

    Of several processes that share the batches, only the leading one has a record to keep.

    Raises:
        DivergedError: a loss is not finite; the newest checkpoint is from before.
    """
    recipe, device = state.recipe, next(state.generator.parameters()).device
    source = BatchSource(recipe, data, pixel_range(state.generator), device, world.rank, world.size)
    total = total_itr(recipe, len(data))
    grid = source.samples(_COLUMNS, min(source.n_classes, _MOST_ROWS) or _ROWS)
    meter = _Meter(source.images_per_itr)

    while state.itr < total:
        outcome = state.step(source.draw(state.itr))
        state.itr += 1
        state.ema.update(state.itr)

        # Read once: a signal after this line counts next time round.
        stopping = world.any(stop.requested, device)
        last = state.itr == total or stopping
        save = state.itr % recipe.checkpoint_every == 0 or last
        log_now = state.itr % recipe.log_every == 0 or last
        if log_now or save:
            outcome = world.average(outcome)
            _refuse_divergence(state.itr, outcome)  # before anything is written
        if record is not None:
            meter.add()
            record.progress.advance(state.itr)
            if log_now:
                record.metrics(_metrics(state.itr, source, outcome, meter))
            if state.itr % recipe.sample_every == 0 or last:
                record.log.samples(state.itr, _sample(state, source, grid), _COLUMNS)
            if save:
                folder, keep = record.log.checkpoints, recipe.keep_checkpoints
                checkpoint.save(folder, state.itr, state.state_dict(), keep)
        if stopping:
            break


def total_itr(recipe: Recipe, n_images: int) -> int:
    """How many iterations, updates of G, a recipe asks for."""
    whole = max(1, recipe.epochs * (n_images // recipe.batch_size) // recipe.d_steps)
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
    itr: int, source: BatchSource, outcome: dict[str, torch.Tensor], meter: _Meter
) -> dict[str, Any]:
    values = {key: value.item() for key, value in outcome.items()}
    return {
        "itr": itr,
        "images_seen": itr * source.images_per_itr,
        "epoch": round(itr / source.itrs_per_epoch, 3),
        "loss": {"d": values["loss_d"], "g": values["loss_g"]},
        "logits": {"real": values["real"], "fake": values["fake"]},
        "images_per_s": round(meter.read(), 1),
    }


def _refuse_divergence(itr: int, outcome: dict[str, torch.Tensor]) -> None:
    loss_d, loss_g = outcome["loss_d"].item(), outcome["loss_g"].item()
    if not (math.isfinite(loss_d) and math.isfinite(loss_g)):
        raise DivergedError(
            f"iteration {itr}: loss of D {loss_d}, of G {loss_g}; it was not saved. Resume at a "
            "lower rate: --resume --set optimizer.g_lr=1e-4"
        )


def _sample(state: TrainingState, source: BatchSource, grid: Inputs) -> torch.Tensor:
    """Images of the averaged generator, float32 [N, C, H, W] in [0, 1]."""
    generator = copy.deepcopy(state.ema.module)
    standing_statistics(generator, source.statistics(_GRID_STATISTICS))
    low, high = pixel_range(generator)
    with torch.no_grad():
        images: torch.Tensor = generator(*grid).cpu()
    images -= low
    return images / (high - low)
