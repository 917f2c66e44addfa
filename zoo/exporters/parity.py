"""Does the exported file make the images that torch makes?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.card import Parity
from zoo.errors import ExportError
from zoo.exporters.graph import ServedGenerator
from zoo.latents import Truncation, latents

SEEDS = 256
BATCH_SIZES = (1, 2, 7, 32)
_THRESHOLDS = (None, 0.02, 0.5, 1.0, 2.0)

Feeds = dict[str, NDArray[np.float32]]


@torch.no_grad()
def compare(
    served: ServedGenerator,
    run: Callable[[Feeds], NDArray[np.uint8]],
    tolerance: int,
    advice: str = "",
) -> Parity:
    """Compares on several seeds and batch sizes.

    Args:
        served: the network, in evaluation mode on the CPU.
        run: the exported file: its inputs by name to images uint8 [N, H, W, C].
        tolerance: largest allowed difference, grey levels.
        advice: ends the message where it is exceeded.

    Raises:
        ExportError: a pixel differs by more than `tolerance`.
    """
    feeds = example_feeds(served, SEEDS)
    expected = served(*map(torch.from_numpy, feeds.values())).numpy().astype(np.int16)
    worst, differing = 0, 0.0
    for size in BATCH_SIZES:
        batches = [
            run({name: values[start : start + size] for name, values in feeds.items()})
            for start in range(0, SEEDS, size)
        ]
        error = np.abs(np.concatenate(batches).astype(np.int16) - expected)
        worst = max(worst, int(error.max()))
        differing = max(differing, float((error > 0).mean()))
    if worst > tolerance:
        raise ExportError(
            f"the exported graph differs from torch by {worst} grey levels (allowed: {tolerance}, "
            f"share of pixels that differ: {differing:.2%}){advice}"
        )
    return Parity(
        max_abs_error=worst,
        differing_pixels=round(differing, 6),
        seeds=SEEDS,
        batch_sizes=BATCH_SIZES,
    )


def example_feeds(served: ServedGenerator, n: int) -> Feeds:
    """Inputs of seeds 0 to n - 1, as a server would make them.

    Classes take turns, every fourth image is an even mixture of two neighbours, and where the
    statistics follow the truncation several thresholds take turns as well.
    """
    truncations = (
        [None if t is None else Truncation(t) for t in _THRESHOLDS] if served.n_knots else [None]
    )
    chosen = [truncations[seed % len(truncations)] for seed in range(n)]
    feeds = {"z": latents(range(n), chosen, served.z_dim)}
    if served.n_classes:
        seeds = np.arange(n)
        weights = np.eye(served.n_classes, dtype=np.float32)[seeds % served.n_classes]
        mixed = seeds % 4 == 3
        weights[mixed] = (weights[mixed] + np.roll(weights[mixed], 1, axis=1)) / 2
        feeds["class_weights"] = weights
    if served.n_knots:
        feeds["truncation"] = np.array(
            [np.inf if t is None else t.value for t in chosen], np.float32
        )
    return feeds
