"""Pixels to bytes. The same pixels always give the same bytes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import Enum

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from server.png import encode_png
from zoo.errors import InvalidRequest, shown

MIN_QUALITY, MAX_QUALITY = 1, 100
_JPEG_QUALITY = 90


class ImageFormat(Enum):
    """What an image is encoded as; the values are what people write."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
    RAW = "raw"


@dataclass(frozen=True)
class Encoding:
    """A format and its quality; build it with `check_encoding`."""

    format: ImageFormat = ImageFormat.PNG
    quality: int | None = None

    def encode(self, pixels: NDArray[np.uint8]) -> bytes:
        """Pixels uint8 [H, W, C], C being 1 or 3, to a file's bytes; RAW: the pixels themselves."""
        if self.format is ImageFormat.RAW:
            return pixels.tobytes()
        if self.format is ImageFormat.PNG:
            return encode_png(pixels)
        if self.format is ImageFormat.JPEG:
            return _jpeg(pixels, self.quality or _JPEG_QUALITY)
        return _webp(pixels, self.quality)


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    space, subsampling = ("GRAY", "Gray") if pixels.shape[2] == 1 else ("RGB", "420")
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels),
        quality=quality,
        colorspace=space,
        colorsubsampling=subsampling,
        fastdct=False,
    )
    return data


def _webp(pixels: NDArray[np.uint8], quality: int | None) -> bytes:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    if quality is None:
        image.save(buffer, "WEBP", lossless=True, quality=0, method=0)
    else:
        image.save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()


def check_encoding(format_: ImageFormat, quality: int | None) -> Encoding:
    """Checks that a quality fits its format.

    Raises:
        InvalidRequest: names `quality`, its value and what is allowed.
    """
    if quality is not None:
        if format_ in {ImageFormat.PNG, ImageFormat.RAW}:
            raise InvalidRequest(
                "quality", f"{shown(quality)}: {format_.name} has none; leave it unset"
            )
        if not MIN_QUALITY <= quality <= MAX_QUALITY:
            raise InvalidRequest(
                "quality", f"{shown(quality)} is outside {MIN_QUALITY} to {MAX_QUALITY}"
            )
    return Encoding(format_, quality)
