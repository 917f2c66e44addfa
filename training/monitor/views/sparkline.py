"""A series as one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
ASCII = str.maketrans(_BARS + "σ×━─●▲▼■–…·", "__.-=+*#" + "sx=-o!!#-~-")  # noqa: RUF001  en dash
"""For terminals that know no others; what else they lack becomes a question mark."""


def sparkline(itrs: Sequence[float], values: Sequence[float], width: int) -> str:
    """Bars of eight heights from the lowest to the highest value; the newest at the right.

    Args:
        itrs: rising.
        values: as many, finite.
        width: characters; fewer come out where there are fewer values.
    """
    if not values or width < 1:
        return ""
    means = _means(itrs, values, width)
    low, high = min(means), max(means)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return _BARS[0] * len(means)
    scale = (len(_BARS) - 1) / (high - low)
    return "".join(_BARS[round((value - low) * scale)] for value in means)


def _means(itrs: Sequence[float], values: Sequence[float], width: int) -> list[float]:
    """Means over equal stretches of the iterations; a stretch without a value repeats the last."""
    if len(values) <= width:
        return list(values)
    first, span = itrs[0], itrs[-1] - itrs[0]
    parts: list[list[float]] = [[] for _ in range(width)]
    for itr, value in zip(itrs, values, strict=True):
        parts[min(width - 1, math.floor((itr - first) / span * width))].append(value)
    means: list[float] = []
    for part in parts:
        means.append(sum(part) / len(part) if part else means[-1])
    return means
