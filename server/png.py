"""PNG at the speed of small images: 8 bits, grey or RGB; larger ones with the filter Up.

This is the part of the format (ISO/IEC 15948) that such images need, around the deflate of ISA-L;
docs/decisions/0007 has the reasons and the figures.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2}  # channels: grey, RGB
_LARGE_BYTES = 8192  # of pixels: from here on a filter and better codes cost less than the bytes
_NO_FILTER, _UP = 0, 2  # Up: each pixel less the one above


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of pixels uint8 [H, W, C], C being 1 or 3."""
    height, width, channels = pixels.shape
    flat = pixels.reshape(height, width * channels)
    is_large = flat.nbytes >= _LARGE_BYTES
    rows = np.empty((height, 1 + width * channels), np.uint8)  # each row led by its filter
    rows[:, 0] = _UP if is_large else _NO_FILTER
    rows[:, 1:] = flat
    if is_large:
        rows[1:, 1:] -= flat[:-1]
    # Level 0 is not "stored" as in zlib, but one pass with fixed codes.
    deflated = isal_zlib.compress(rows.data, 1 if is_large else 0)
    if len(deflated) > rows.nbytes:  # noise: codes make it longer
        deflated = zlib.compress(rows.data, 0)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", deflated),
            _END,
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return b"%b%b%b%b" % (
        struct.pack(">I", len(content)),
        kind,
        content,
        struct.pack(">I", isal_zlib.crc32(content, isal_zlib.crc32(kind))),
    )


_END = _chunk(b"IEND", b"")
