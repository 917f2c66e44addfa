"""What a caller gets back: one generated image."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cached_property

from PIL import Image


@dataclass(frozen=True)
class GeneratedImage:
    """One image and what it takes to make it again.

    Attributes:
        data: the encoded file; for format `raw`, uint8 pixels row by row.
        seed: asking for `count=1` with this seed gives this image again.
        index: position in the request.
        classes: class names and their weights; empty for a model without classes.
        truncation: as asked for; None if there was none.
        width: pixels.
        height: pixels.
        channels: 1 is grey, 3 are RGB.
        format: `png`, `jpeg`, `webp` or `raw`.
    """

    data: bytes = field(repr=False)
    seed: int
    index: int
    classes: dict[str, float]
    truncation: float | None
    width: int
    height: int
    channels: int
    format: str

    @property
    def class_name(self) -> str | None:
        """The class, or a mixture as `A:0.5,R:0.5`; None for a model without classes."""
        if len(self.classes) == 1:
            return next(iter(self.classes))
        return ",".join(f"{name}:{weight:g}" for name, weight in self.classes.items()) or None

    @cached_property
    def image(self) -> Image.Image:
        """The decoded picture, mode L or RGB."""
        if self.format == "raw":
            mode = "L" if self.channels == 1 else "RGB"
            return Image.frombytes(mode, (self.width, self.height), self.data)
        picture = Image.open(io.BytesIO(self.data))
        picture.load()
        # WebP has no grey mode: it comes back as RGB.
        return picture.convert("L") if self.channels == 1 else picture
