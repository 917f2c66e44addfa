"""Kernel distance (KID, Bińkowski et al. 2018, section 4): an unbiased squared MMD.

    k(x, y) = (x·y / D + 1)³

Unlike the Fréchet distance it does not depend on how many samples there are, only its spread does.
It may fall below zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def kernel_distance(
    one: ArrayLike,
    other: ArrayLike,
    *,
    subsets: int = 10,
    subset_size: int = 1000,
    seed: int = 0,
) -> float:
    """Mean over subsets of the unbiased squared MMD between features [N, D] and [M, D].

    Args:
        one: at least 2 samples.
        other: at least 2 samples.
        subsets: how many pairs of subsets are drawn, each without replacement; one suffices where
            a subset is the whole of both sets.
        subset_size: samples of each; at most what there is.
        seed: of the drawing.
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    size = min(len(a), len(b), subset_size)
    if size < 2:
        raise ValueError(f"sets of {len(a)} and {len(b)} samples: each must have 2 or more")
    if size == len(a) == len(b):
        return squared_mmd(a, b)
    rng = np.random.default_rng(seed)
    drawn = [
        squared_mmd(
            a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, replace=False)]
        )
        for _ in range(subsets)
    ]
    return float(np.mean(drawn))


def squared_mmd(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Unbiased estimate (Gretton et al. 2012, lemma 6) from float64 [N, D] and [M, D]."""
    return _mean_of_pairs(a) + _mean_of_pairs(b) - 2.0 * float(_kernel(a, b).mean())


def _kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = (a @ b.T / a.shape[1] + 1.0) ** 3
    return values


def _mean_of_pairs(a: NDArray[np.float64]) -> float:
    """Over pairs of different samples."""
    values = _kernel(a, a)
    return float((values.sum() - np.trace(values)) / (len(a) * (len(a) - 1)))
