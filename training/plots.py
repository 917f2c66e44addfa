"""Figures as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.metrics.truncation_curve import Measurement

_PANELS = (
    ("fid", "Fréchet distance", "lower is better"),
    ("score", "score of classes", "higher is better"),
    ("precision", "precision", "share of images"),
    ("recall", "recall", "share of real images"),
    ("accuracy", "accuracy", "share of images"),
    ("intra_class_distance", "distance within classes", "low is little variety"),
)
_COLUMNS = 3
_PANEL_SIZE = (3.6, 2.7)  # inches
_DPI = 110


def plot_truncation_curve(
    path: Path,
    title: str,
    curve: Sequence[Measurement],
    references: Sequence[tuple[str, Measurement]],
) -> None:
    """Draws figures against the threshold into a PNG; metrics that nobody measured are left out.

    Args:
        path: of the PNG; replaced.
        title: above the panels.
        curve: in any order; no truncation comes last.
        references: real images by name, as dashed lines.
    """
    points = sorted(curve, key=lambda p: float("inf") if p.threshold is None else p.threshold)
    shown = [panel for panel in _PANELS if all(panel[0] in p.metrics() for p in points)]
    rows = -(-len(shown) // _COLUMNS)
    size = (_COLUMNS * _PANEL_SIZE[0], rows * _PANEL_SIZE[1] + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    for axis, (metric, name, meaning) in zip(axes, shown, strict=False):
        _draw(axis, metric, points, references)
        axis.set_title(name)
        axis.set_ylabel(meaning)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))
    figure.savefig(path, dpi=_DPI, format="png")


def _draw(
    axis: Axes,
    metric: str,
    points: Sequence[Measurement],
    references: Sequence[tuple[str, Measurement]],
) -> None:
    # Thresholds are evenly spaced: they crowd at small values, and none has no place on a scale.
    places = list(range(len(points)))
    axis.plot(places, [p.metrics()[metric] for p in points], marker="o", label="generator")
    for number, (name, real) in enumerate(references, start=1):
        if metric in real.metrics():
            axis.axhline(real.metrics()[metric], color=f"C{number}", linestyle="--", label=name)
    names = ["none" if p.threshold is None else f"{p.threshold:g}" for p in points]
    axis.set_xticks(places, names)
    axis.set_xlabel("truncation threshold")
    axis.grid(alpha=0.3)
