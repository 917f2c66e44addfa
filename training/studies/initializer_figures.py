"""Figures of the study of initialisers: curves, heat maps over the gains, and all starts by end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from training.studies.drawing import drawing
from training.studies.initializer_starts import OPTIMIZERS, Ending, Start
from training.studies.study import Figure, Setting


@dataclass(frozen=True)
class Outcome:
    """All runs of one model.

    Attributes:
        name: of the model, for file names.
        title: of the model.
        loss: what the curves show.
        score: what runs are measured by at their end; lower is better.
        step: what the curves' points are apart.
        endings: by optimiser and name of the start, one a seed.
    """

    name: str
    title: str
    loss: str
    score: str
    step: str
    endings: Mapping[tuple[str, str], Sequence[Ending]]

    def final(self, optimizer: str, start: str) -> float:
        """The mean score over seeds; infinite where one of them diverged."""
        return float(np.mean([ending.score for ending in self.endings[optimizer, start]]))

    def curve(self, optimizer: str, start: str) -> list[float]:
        """The mean loss over seeds, as far as all of them went."""
        runs = [ending.losses for ending in self.endings[optimizer, start]]
        return [float(np.mean(values)) for values in zip(*runs, strict=False)]


def draw_curves(setting: Setting, outcome: Outcome, starts: Sequence[Start]) -> Figure:
    """A row an optimiser: the grid, coloured by g1 and dashed by g2; then the others."""
    grid = [start for start in starts if start.gains]
    gains = list(dict.fromkeys(start.gains[0] for start in grid if start.gains))
    figure = Figure(
        name=f"{outcome.name}-curves",
        caption=f"{outcome.title}: {outcome.loss}, by {outcome.step}. On the left the grid of "
        "gains, g1 of convolutions and g2 of dense layers; on the right the other starts.",
    )
    with drawing(
        setting,
        figure,
        f"{outcome.title}: {outcome.loss}",
        rows=len(OPTIMIZERS),
        columns=2,
        panel=(5.2, 3.2),
        share_y=True,
    ) as axes:
        for row, optimizer in enumerate(OPTIMIZERS):
            left, right = axes[2 * row], axes[2 * row + 1]
            for start in starts:
                curve = outcome.curve(optimizer, start.name)
                x = range(1, len(curve) + 1)
                if start.gains:
                    colour, dash = (gains.index(gain) for gain in start.gains)
                    style = ("-", "--", ":")[dash % 3]
                    left.plot(x, curve, style, color=f"C{colour}", label=start.name)
                else:
                    right.plot(x, curve, label=start.name)
            for axis, what in ((left, "gains"), (right, "other starts")):
                axis.set_title(f"{optimizer}, {what}")
                axis.set_xlabel(outcome.step)
                axis.xaxis.set_major_locator(MaxNLocator(integer=True))
                if row == 0:
                    axis.legend(fontsize="x-small")
    return figure


def draw_gains(setting: Setting, outcomes: Sequence[Outcome], starts: Sequence[Start]) -> Figure:
    """Heat maps of scores over (g1, g2), a row a model, a column an optimiser."""
    gains = list(dict.fromkeys(start.gains[0] for start in starts if start.gains))
    figure = Figure(
        name="gains",
        caption="Scores at the end over the gains of convolutions (g1) and of dense layers (g2); "
        "lower is better, and darker. Above " + "; below ".join(o.score for o in outcomes) + ".",
    )
    with drawing(
        setting,
        figure,
        "Gains of convolutions and dense layers",
        rows=len(outcomes),
        columns=len(OPTIMIZERS),
        panel=(3.9, 3.2),
    ) as axes:
        for row, outcome in enumerate(outcomes):
            for column, optimizer in enumerate(OPTIMIZERS):
                axis = axes[row * len(OPTIMIZERS) + column]
                scores = {s.gains: outcome.final(optimizer, s.name) for s in starts if s.gains}
                table = np.array([[scores[g1, g2] for g2 in gains] for g1 in gains])
                axis.grid(visible=False)
                finite = np.where(np.isfinite(table), table, np.nan)
                axis.imshow(finite, cmap="viridis", origin="lower")
                low, high = np.nanmin(finite), np.nanmax(finite)
                for (i, j), value in np.ndenumerate(table):
                    bright = value > (low + high) / 2
                    text = f"{value:.4g}" if math.isfinite(value) else "diverged"
                    axis.text(j, i, text, ha="center", va="center", color="kw"[not bright])
                axis.set_xticks(range(len(gains)), [f"{gain:.3g}" for gain in gains])
                axis.set_yticks(range(len(gains)), [f"{gain:.3g}" for gain in gains])
                axis.set_xlabel("g2, dense")
                axis.set_ylabel("g1, convolutions")
                axis.set_title(f"{outcome.title}, {optimizer}")
    return figure


def draw_ends(setting: Setting, outcomes: Sequence[Outcome], starts: Sequence[Start]) -> Figure:
    """Every start's score, a dot a seed."""
    figure = Figure(
        name="starts",
        caption="Scores of all starts at the end, a dot a seed and a bar at their mean; lower is "
        "better. What diverged has no dot.",
    )
    with drawing(
        setting,
        figure,
        "All starts at the end",
        columns=len(outcomes),
        panel=(5.6, 0.34 * len(starts) + 0.8),
    ) as axes:
        places = np.arange(len(starts))[::-1]
        for axis, outcome in zip(axes, outcomes, strict=True):
            for number, optimizer in enumerate(OPTIMIZERS):
                for place, start in zip(places, starts, strict=True):
                    scores = [e.score for e in outcome.endings[optimizer, start.name]]
                    known = [score for score in scores if math.isfinite(score)]
                    label = optimizer if place == places[0] else None
                    y = place + 0.2 - 0.4 * number
                    axis.plot(known, [y] * len(known), "o", ms=4, color=f"C{number}", label=label)
                    if known:
                        mean = float(np.mean(known))
                        axis.plot([mean] * 2, [y - 0.15, y + 0.15], color=f"C{number}")
            axis.set_yticks(places, [start.name for start in starts])
            axis.set_title(outcome.title)
            axis.set_xlabel(outcome.score)
        axes[-1].legend(loc="upper right")
    return figure
