"""PNG for many small images: 8 bits, grey or RGB, no filter, deflate at its fastest.

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
_DEFLATE_LEVEL = 0  # of 0 to 3; not "stored" as in zlib, but one pass with fixed codes


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of pixels uint8 [H, W, C], C being 1 or 3."""
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row led by its filter: none
    rows[:, 1:] = pixels.reshape(height, width * channels)
    deflated = isal_zlib.compress(rows.data, _DEFLATE_LEVEL)
    if len(deflated) > rows.nbytes:  # noise: fixed codes make it longer
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
