"""Draws the panels of a run: each alone as SVG, all together as one PNG."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from training.figure_style import FONT, STYLE
from training.monitor.verdict import Health
from training.monitor.views.history import Column
from training.monitor.views.line_names import name_lines
from training.monitor.views.panels import Line, Panel, Section

BAND_COLOURS = {
    Health.suspect: "#fff0b3",
    Health.decaying: "#ffd9a8",
    Health.collapsed: "#ffd9d9",
}
"""Behind the lines; a healthy run has none."""

_SIZE = (4.7, 2.9)  # inches
_MARGINS = {"left": 0.13, "right": 0.715, "bottom": 0.115, "top": 0.88}
_COLUMNS = 3  # of the PNG
_DPI = 100
_MOST_POINTS = 400  # of a line
_SPAN = 6.0  # ratio of highest to lowest from which an axis is logarithmic
_MANY = 20_000  # iterations, from which on an axis counts in thousands
_FAINT = 0.75
_NARROWEST = 0.012  # of a panel: a verdict of the last moment is seen too
_DECIMALS = re.compile(r"(\.\d{2})\d+")  # of points: more than anybody sees


@dataclass(frozen=True)
class Marks:
    """What every panel shows besides its lines.

    Attributes:
        bands: from an iteration to another one, in which the verdict was not healthy.
        rollbacks: iterations that the run went back to.
        span: first and last iteration of the run.
    """

    bands: Sequence[tuple[float, float, Health]]
    rollbacks: Sequence[float]
    span: tuple[float, float]


def svg(panel: Panel, marks: Marks) -> str:
    """One panel as an `<svg>` element, without a fixed size."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=_SIZE)
        _draw(figure.add_subplot(), panel, marks)
        figure.subplots_adjust(**_MARGINS)
        buffer = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    return re.sub(r' d="[^"]*"', lambda path: _DECIMALS.sub(r"\1", path[0]), text)


def save_png(path: Path, title: str, sections: Sequence[Section], marks: Marks) -> None:
    """All panels in one picture.

    Raises:
        OSError: it cannot be written.
    """
    rows = [-(-len(section.panels) // _COLUMNS) for section in sections]
    heights = [
        count * _SIZE[1] + _legend_height(section) + 0.35
        for section, count in zip(sections, rows, strict=True)
    ]
    with mpl.rc_context(STYLE):
        size = (_COLUMNS * _SIZE[0], sum(heights) + 0.5)
        figure = Figure(figsize=size)
        rows_of = figure.add_gridspec(len(sections) + 1, 1, height_ratios=[0.5, *heights])
        top, *parts = [figure.add_subfigure(rows_of[i, 0]) for i in range(len(sections) + 1)]
        top.text(0.01, 0.35, title, fontsize=FONT + 5, weight="bold")
        for part, section, height, count in zip(parts, sections, heights, rows, strict=True):
            _section(part, section, marks, height, count)
        figure.savefig(path, dpi=_DPI, format="png")


def _section(part: SubFigure, section: Section, marks: Marks, height: float, rows: int) -> None:
    part.text(0.01, 1 - 0.22 / height, section.title, fontsize=FONT + 3)
    bottom = _legend_height(section) / height
    room = 1 - bottom - 0.35 / height
    for i, panel in enumerate(section.panels):
        row, column = divmod(i, _COLUMNS)
        below = bottom + room * (rows - 1 - row) / rows
        axis = part.add_axes(
            (
                (column + _MARGINS["left"]) / _COLUMNS,
                below + _MARGINS["bottom"] * room / rows,
                (_MARGINS["right"] - _MARGINS["left"]) / _COLUMNS,
                (_MARGINS["top"] - _MARGINS["bottom"]) * room / rows,
            )
        )
        _draw(axis, panel, marks)
    if section.layers:
        handles = [Line2D([], [], color=colour) for _, colour in section.layers]
        names = [name for name, _ in section.layers]
        part.legend(
            handles, names, loc="lower center", ncols=_legend_columns(section), frameon=False
        )


def _legend_columns(section: Section) -> int:
    longest = max(len(name) for name, _ in section.layers)
    return max(1, min(len(section.layers), round(130 / (longest + 7))))


def _legend_height(section: Section) -> float:
    if not section.layers:
        return 0.0
    return 0.21 * -(-len(section.layers) // _legend_columns(section)) + 0.12


def _draw(axis: Axes, panel: Panel, marks: Marks) -> None:
    axis.set_title(panel.title, loc="left")
    axis.grid(color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)
    for line in panel.lines:
        _draw_line(axis, line)
    if panel.level is not None:
        axis.axhline(panel.level, color="0.5", linewidth=0.8, linestyle=(0, (1, 2)))
    _scale(axis, panel)
    first, last = marks.span
    axis.set_xlim(first, last if last > first else first + 1)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    thousands = last >= _MANY
    axis.xaxis.set_major_formatter(
        FuncFormatter(lambda itr, _: f"{itr / 1000:,g}k" if thousands else f"{itr:,.0f}")
    )
    _draw_marks(axis, marks)
    if panel.best and (lowest := panel.lines[0].column.lowest()):
        _draw_best(axis, *lowest, marks.span)
    name_lines(axis, panel.lines)


def _draw_line(axis: Axes, line: Line) -> None:
    if line.band is not None:
        low, high = line.band
        axis.fill_between(
            low.itrs, low.values, high.values, color=line.colour, alpha=0.15, linewidth=0
        )
    for column in line.abandoned:
        xs, ys = _thinned(column)
        axis.plot(xs, ys, color=line.colour, linewidth=0.9, alpha=_FAINT, linestyle=(0, (2, 1.5)))
    xs, ys = _thinned(line.column)
    axis.plot(
        xs,
        ys,
        color=line.colour,
        linewidth=2.6 if line.bold else 1.2,
        linestyle="--" if line.dashed else "-",
        marker="o" if len(xs) == 1 else None,
        markersize=4,
        zorder=3 if line.bold else 2,
    )


def _scale(axis: Axes, panel: Panel) -> None:
    """A logarithmic axis for ratios that span much, one that bends for losses that run away."""
    values = np.concatenate([line.column.values for line in panel.lines])
    if panel.ratio and values.min() > 0 and values.max() > _SPAN * values.min():
        axis.set_yscale("log")
    elif not panel.ratio and np.abs(values).max() > 20 * max(1.0, float(np.median(np.abs(values)))):
        axis.set_yscale("symlog", linthresh=float(max(1.0, np.median(np.abs(values)))))
    else:
        return
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if values.max() > 30 * max(1e-12, float(values.min())):
        axis.yaxis.set_minor_formatter(NullFormatter())
    else:
        axis.yaxis.set_minor_formatter(FuncFormatter(_minor))


def _minor(value: float, _: int | None) -> str:
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _draw_marks(axis: Axes, marks: Marks) -> None:
    first, last = marks.span
    top = axis.get_xaxis_transform()
    for start, end, health in marks.bands:
        start = min(start, last - _NARROWEST * (last - first))
        axis.axvspan(start, end, color=BAND_COLOURS[health], linewidth=0, zorder=0)
        if end - start > 0.16 * (last - first):  # narrower ones have no room for a word
            axis.text(
                start,
                0.985,
                f" {health.value}",
                transform=top,
                va="top",
                fontsize=6.5,
                color="0.35",
            )
    for itr in dict.fromkeys(marks.rollbacks):
        numbers = [str(n) for n, other in enumerate(marks.rollbacks, 1) if other == itr]
        axis.axvline(itr, color="0.25", linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        text = f" ↶{','.join(numbers)}"
        axis.text(itr, 0.02, text, transform=top, fontsize=7, color="0.25", clip_on=True)


def _draw_best(axis: Axes, itr: float, value: float, span: tuple[float, float]) -> None:
    axis.plot([itr], [value], marker="*", color="black", markersize=9, zorder=4)
    early = itr - span[0] < 0.6 * (span[1] - span[0])
    axis.annotate(
        f"best {value:.4g} at {itr:,.0f}",
        (itr, value),
        xytext=(4 if early else -4, 9),
        textcoords="offset points",
        ha="left" if early else "right",
        fontsize=7.5,
        zorder=4,
        bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.8},
    )


def _thinned(column: Column) -> tuple[list[float], list[float]]:
    """Of a long column the lowest and the highest value of each stretch, in order."""
    itrs, values = column.itrs, column.values
    if len(values) <= _MOST_POINTS:
        return itrs, values
    edges = np.linspace(0, len(values), _MOST_POINTS // 2 + 1).astype(int)
    kept = {0, len(values) - 1}
    for start, end in itertools.pairwise(edges):
        part = values[start:end]
        kept |= {start + int(np.argmin(part)), start + int(np.argmax(part))}
    order = sorted(kept)
    return [itrs[i] for i in order], [values[i] for i in order]
