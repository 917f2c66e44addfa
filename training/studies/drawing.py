"""The look of the studies' figures, one PNG each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from training.figure_style import STYLE
from training.studies.study import Figure, Setting

_DPI = 100


@contextmanager
def drawing(
    setting: Setting,
    figure: Figure,
    title: str,
    *,
    rows: int = 1,
    columns: int = 1,
    panel: tuple[float, float] = (4.2, 3.1),
    share_y: bool = False,
) -> Iterator[list[Axes]]:
    """Panels to draw on, row by row; on leaving, `NAME.png` is saved in the setting's folder.

    Args:
        setting: says where to.
        figure: whose name the file gets.
        title: above the panels.
        rows: of panels.
        columns: of panels.
        panel: width and height of one, inches.
        share_y: one vertical scale for all panels.
    """
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(columns * panel[0], rows * panel[1] + 0.35), layout="constrained")
        canvas.suptitle(title, x=0.01, ha="left", weight="bold")
        axes = list(canvas.subplots(rows, columns, squeeze=False, sharey=share_y).flatten())
        for axis in axes:
            axis.grid(color="0.9", linewidth=0.6)
            axis.set_axisbelow(True)
        yield axes
        canvas.savefig(setting.out / f"{figure.name}.png", dpi=_DPI, format="png")
