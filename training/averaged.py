"""The generator that is served: averaged weights, spectral norms folded, standing statistics."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import nn

from training.batches import one_hot
from training.config import Recipe
from training.draws import noise
from training.ema import standing_statistics
from training.networks import Subject, build
from training.steps import Inputs
from zoo.exporters.graph import ServedGenerator
from zoo.exporters.truncation_knots import N_KNOTS, thresholds
from zoo.latents import Truncation, latents
from zoo.nets.layers import StandingBatchNorm2d, fold_spectral_norm

_BATCH = 256
_BATCHES = 64
_BATCHES_A_KNOT = 32


def served_generator(recipe: Recipe, state: dict[str, Any]) -> ServedGenerator:
    """The averaged generator of a checkpoint, in evaluation mode, ready to be exported.

    Batch-norm statistics of a BigGAN follow the truncation; a DCGAN's are those of untruncated z.
    """
    subject = Subject(**state["subject"]) if "subject" in state else Subject()
    generator, _ = build(recipe.network, subject)
    generator.load_state_dict(state["ema"])
    fold_spectral_norm(generator)
    z_dim = recipe.network.z_dim
    if recipe.network.architecture == "dcgan":
        batches = ((noise(recipe.seed, 2**63 + i, _BATCH, z_dim),) for i in range(_BATCHES))
        standing_statistics(generator, batches)
        return ServedGenerator(generator, z_dim).eval()
    n_classes = len(subject.class_names)
    tabulate_statistics(generator, z_dim, n_classes)
    return ServedGenerator(generator, z_dim, n_classes, N_KNOTS).eval()


def tabulate_statistics(generator: nn.Module, z_dim: int, n_classes: int) -> None:
    """Estimates every batch norm's statistics at every knot, in place.

    Args:
        generator: called with z float32 [N, z_dim] and, if it has classes, class weights float32
            [N, n_classes]; left in evaluation mode with the statistics of untruncated z.
        z_dim: length of z.
        n_classes: 0 for a generator without classes; classes are drawn in equal shares.
    """
    norms = [m for m in generator.modules() if isinstance(m, StandingBatchNorm2d)]
    rows: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in norms]
    console = Console(file=sys.stderr)
    for threshold in track(
        thresholds(),
        "standing statistics",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ):
        standing_statistics(generator, _truncated(threshold, z_dim, n_classes))
        for row, norm in zip(rows, norms, strict=True):
            mean, variance = norm.statistics(None)
            row.append((mean.clone(), variance.clone()))
    for row, norm in zip(rows, norms, strict=True):
        means, variances = zip(*row, strict=True)
        norm.tabulate(torch.stack(means), torch.stack(variances))


def _truncated(threshold: float | None, z_dim: int, n_classes: int) -> Iterator[Inputs]:
    """Batches as they are served at one threshold; the same seeds at every threshold."""
    truncation = None if threshold is None else Truncation(threshold)
    for batch in range(_BATCHES_A_KNOT):
        seeds = range(2**63 + batch * _BATCH, 2**63 + (batch + 1) * _BATCH)
        z = torch.from_numpy(latents(seeds, [truncation] * _BATCH, z_dim))
        if n_classes:
            yield z, one_hot(torch.arange(batch, batch + _BATCH) % n_classes, n_classes)
        else:
            yield (z,)
