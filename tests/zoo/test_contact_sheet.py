"""Many images in one picture."""

from __future__ import annotations

import pytest
from PIL import Image

from zoo.contact_sheet import contact_sheet

GAP = 2


def pictures(n: int, mode: str = "L") -> list[Image.Image]:
    """Pictures 6 wide and 4 high, of the grey levels 1, 2, 3, …"""
    return [Image.new("L", (6, 4), 1 + i).convert(mode) for i in range(n)]


@pytest.mark.parametrize(
    ("n", "columns", "grid"),
    [
        (1, None, (1, 1)),
        (2, None, (2, 1)),
        (4, None, (2, 2)),
        (5, None, (3, 2)),
        (64, None, (8, 8)),
        (5, 1, (1, 5)),
        (5, 2, (2, 3)),
        (5, 5, (5, 1)),
        (2, 4, (4, 1)),
    ],
)
def test_images_stand_in_rows(n: int, columns: int | None, grid: tuple[int, int]) -> None:
    sheet = contact_sheet(pictures(n), columns)
    across, down = grid
    assert sheet.size == (across * (6 + GAP) + GAP, down * (4 + GAP) + GAP)
    for i in range(across * down):
        left, top = GAP + i % across * (6 + GAP), GAP + i // across * (4 + GAP)
        cell = sheet.crop((left, top, left + 6, top + 4))
        level = 1 + i if i < n else 0
        assert cell.getextrema() == (level, level)


def test_nothing_is_drawn_between_images() -> None:
    sheet = contact_sheet(pictures(4))
    drawn = sum(sheet.histogram()[1:])
    assert drawn == 4 * 6 * 4


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_stays_grey_and_colour_stays_colour(mode: str) -> None:
    assert contact_sheet(pictures(3, mode)).mode == mode
