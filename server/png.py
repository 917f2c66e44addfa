"""PNG for many small images: 8 bits, grey or RGB, no filter, deflate at its fastest.

For a 28x28 image Pillow spends most of its time around the compression, and holds the GIL in it
(docs/benchmarks.md); this is the part of the format (ISO/IEC 15948) that such an image needs.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2}  # channels: grey, RGB
_DEFLATE_LEVEL = 1


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of pixels uint8 [H, W, C], C being 1 or 3."""
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row led by its filter: none
    rows[:, 1:] = pixels.reshape(height, width * channels)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(rows.data, _DEFLATE_LEVEL)),
            _END,
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return b"%b%b%b%b" % (
        struct.pack(">I", len(content)),
        kind,
        content,
        struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))),
    )


_END = _chunk(b"IEND", b"")
