"""Does the exported file make the images that torch makes?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.card import Parity
from zoo.errors import ExportError
from zoo.exporters.graph import ServedGenerator
from zoo.latents import latents

SEEDS = 256
BATCH_SIZES = (1, 2, 7, 32)


@torch.no_grad()
def compare(
    served: ServedGenerator,
    run: Callable[[NDArray[np.float32]], NDArray[np.uint8]],
    z_dim: int,
    tolerance: int,
) -> Parity:
    """Compares on several seeds and batch sizes.

    Args:
        served: the network, in evaluation mode on the CPU.
        run: the exported file: latents float32 [N, z_dim] to images uint8 [N, H, W, C].
        z_dim: length of z.
        tolerance: largest allowed difference, grey levels.

    Raises:
        ExportError: a pixel differs by more than `tolerance`.
    """
    z = latents(range(SEEDS), [None] * SEEDS, z_dim)
    expected = served(torch.from_numpy(z)).numpy().astype(np.int16)
    worst, differing = 0, 0.0
    for size in BATCH_SIZES:
        batches = [run(z[start : start + size]) for start in range(0, SEEDS, size)]
        error = np.abs(np.concatenate(batches).astype(np.int16) - expected)
        worst = max(worst, int(error.max()))
        differing = max(differing, float((error > 0).mean()))
    if worst > tolerance:
        raise ExportError(
            f"the exported graph differs from torch by {worst} grey levels (allowed: {tolerance}, "
            f"share of pixels that differ: {differing:.2%}); try --weights fp32"
        )
    return Parity(
        max_abs_error=worst,
        differing_pixels=round(differing, 6),
        seeds=SEEDS,
        batch_sizes=BATCH_SIZES,
    )
