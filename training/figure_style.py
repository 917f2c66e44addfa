"""matplotlib's settings for every figure of this project."""

from __future__ import annotations

from typing import Any, Final

FONT: Final = 9.5
"""Points."""

STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "ganagerie",  # the same figure is the same file
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": FONT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": FONT + 1.5,
    "axes.titleweight": "bold",
}
