"""Before the first request: growing batches through every kind of lane, and an image's time."""

from __future__ import annotations

import time
from typing import Final

from zoo.generator import Generator, Mixture
from zoo.runtime import CPU

_RUNS: Final = 2  # of each batch and lane: the first one allocates
# On a CPU larger batches are hardly quicker an image, and what they allocate is kept. On a GPU each
# size is slow the first time.
_MOST_ON_CPU: Final = 16


def warm_up(generator: Generator, most: int, seconds: float) -> float:
    """Seconds an image, in the largest batch that was tried.

    Args:
        generator: what will make images.
        most: images in the largest batch that may be tried; on a CPU at most 16.
        seconds: no larger batch is tried than one that takes at least a quarter of them.
    """
    if generator.provider == CPU:
        most = min(most, _MOST_ON_CPU)
    n = 1
    while True:
        took_s = max(_lane_s(generator, n, lane) for lane in range(generator.execution.kinds))
        if n == most or took_s > seconds / 4:
            return took_s / n
        n = min(2 * n, most)


def _lane_s(generator: Generator, n: int, lane: int) -> float:
    """The quickest of some runs of a batch, seconds."""
    mixtures: list[Mixture] | None = [((0, 1.0),)] * n if generator.card.classes else None
    took_s = []
    for _ in range(_RUNS):
        started_s = time.perf_counter()
        generator.generate(range(n), [None] * n, mixtures, lane)
        took_s.append(time.perf_counter() - started_s)
    return min(took_s)
