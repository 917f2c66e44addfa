"""Names of lines, beside their ends: with many layers easier to follow than a legend alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from training.monitor.views.panels import Line

_MOST = 7  # of a panel; the legend has the others
_LENGTH = 22  # characters
_HEIGHT = 0.082  # of a panel


def name_lines(axis: Axes, lines: Sequence[Line]) -> None:
    """Names at the right, each beside the end of its line, none over another."""
    if len(lines) == 1:
        return  # the title says what it is
    chosen = sorted(lines, key=lambda line: (not line.bold, -line.column.values[-1]))
    chosen = chosen[:_MOST]
    ends = axis.transData.transform([(0.0, line.column.values[-1]) for line in chosen])
    heights = axis.transAxes.inverted().transform(ends)[:, 1].clip(0.0, 1.0)
    order = np.argsort(heights)
    places = _apart(heights[order])
    for at, i in zip(places, order, strict=True):
        name = chosen[i].name
        if len(name) > _LENGTH:
            name = "…" + name[1 - _LENGTH :]
        axis.annotate(
            name,
            (1.0, float(heights[i])),
            xycoords="axes fraction",
            xytext=(1.045, at),
            va="center",
            fontsize=7.8,
            color=chosen[i].colour,
            weight="bold" if chosen[i].bold else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": chosen[i].colour,
                "linewidth": 0.5,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )


def _apart(heights: NDArray[np.float64]) -> list[float]:
    """Places at least a name's height apart, near rising `heights`, within the panel."""
    up: list[float] = []
    for height in heights:
        up.append(max(float(height), up[-1] + _HEIGHT if up else 0.0))
    down: list[float] = []
    for height in reversed(heights):
        down.append(min(float(height), down[-1] - _HEIGHT if down else 1.0))
    places = [(a + b) / 2 for a, b in zip(up, reversed(down), strict=True)]
    shift = max(0.0, places[-1] - 1.0) + min(0.0, places[0])
    return [place - shift for place in places]
