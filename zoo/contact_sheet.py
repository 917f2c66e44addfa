"""Many images in one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

_GAP = 2  # pixels between images


def contact_sheet(images: Sequence[Image.Image], columns: int | None = None) -> Image.Image:
    """Images of one size in rows, as square as it gets unless `columns` is given."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    width, height = images[0].size
    size = (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP)
    sheet = Image.new(images[0].mode, size)
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        sheet.paste(image, (_GAP + column * (width + _GAP), _GAP + row * (height + _GAP)))
    return sheet
