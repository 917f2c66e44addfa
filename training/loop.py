"""The training loop: draw, step, average; now and then log, sample, save."""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import torch

from training import checkpoint
from training.data import BatchOrder, ImageSet, noise, to_unit_range
from training.ema import standing_statistics
from training.errors import DivergedError
from training.progress import TrainingProgress
from training.runlog import RunLog
from training.state import TrainingState
from training.stopping import StopRequest

_GRID = 64  # images in a sample grid
_GRID_STATISTICS = 8  # batches of 128 that batch norm is re-estimated from, for a grid


def train(
    state: TrainingState, data: ImageSet, log: RunLog, progress: TrainingProgress, stop: StopRequest
) -> None:
    """Runs from `state.itr` to the end of the recipe, or until asked to stop; saves either way.

    Raises:
        DivergedError: a loss is not finite; the newest checkpoint is from before.
    """
    recipe, device = state.recipe, next(state.generator.parameters()).device
    order = BatchOrder(len(data), recipe.batch_size, recipe.seed)
    total = total_itr(recipe.epochs, order.batches_per_epoch, recipe.max_itr)
    fixed_z = noise(recipe.seed, 2**62, _GRID, recipe.network.z_dim).to(device)
    meter = _Meter(recipe.batch_size)

    while state.itr < total:
        real = to_unit_range(data.images[order.indices(state.itr)].to(device))
        z = noise(recipe.seed, state.itr, recipe.batch_size, recipe.network.z_dim).to(device)
        outcome = state.step(real, z)
        state.itr += 1
        state.ema.update(state.itr)
        meter.add()
        progress.advance(state.itr)

        stopping = stop.requested  # read once: a signal after this line counts next time round
        last = state.itr == total or stopping
        save = state.itr % recipe.checkpoint_every == 0 or last
        log_now = state.itr % recipe.log_every == 0 or last
        if log_now or save:
            _refuse_divergence(state.itr, outcome)  # before anything is written
        if log_now:
            record = _record(state.itr, order.batches_per_epoch, recipe.batch_size, outcome, meter)
            log.metrics(record)
            progress.update(record)
        if state.itr % recipe.sample_every == 0 or last:
            log.samples(state.itr, _sample(state, fixed_z))
        if save:
            checkpoint.save(log.checkpoints, state.itr, state.state_dict(), recipe.keep_checkpoints)
        if stopping:
            break


def total_itr(epochs: int, batches_per_epoch: int, max_itr: int | None) -> int:
    """How many iterations a recipe asks for."""
    whole = epochs * batches_per_epoch
    return whole if max_itr is None else min(whole, max_itr)


class _Meter:
    """Images per second since the last reading."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._since_s, self._batches = time.monotonic(), 0

    def add(self) -> None:
        self._batches += 1

    def read(self) -> float:
        now = time.monotonic()
        rate = self._batches * self._batch_size / (now - self._since_s)
        self._since_s, self._batches = now, 0
        return rate


def _record(
    itr: int,
    batches_per_epoch: int,
    batch_size: int,
    outcome: dict[str, torch.Tensor],
    meter: _Meter,
) -> dict[str, Any]:
    values = {key: value.item() for key, value in outcome.items()}
    return {
        "itr": itr,
        "images_seen": itr * batch_size,
        "epoch": round(itr / batches_per_epoch, 3),
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


def _sample(state: TrainingState, fixed_z: torch.Tensor) -> torch.Tensor:
    generator = copy.deepcopy(state.ema.module)
    recipe = state.recipe
    latents = [
        noise(recipe.seed, 2**62 + 1 + i, 128, recipe.network.z_dim).to(fixed_z.device)
        for i in range(_GRID_STATISTICS)
    ]
    standing_statistics(generator, latents)
    with torch.no_grad():
        images: torch.Tensor = generator(fixed_z).cpu()
    return images
