"""`ganagerie serve`, but it keeps 32 KiB of every image that it encodes: a soak must notice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ganagerie.cli import main
from server.encoding import Encoding

_KEPT: list[bytes] = []
_MOST = 20_000  # some 600 MiB: a test is to fail, not its machine

_encode = Encoding.encode


def _encode_and_keep(encoding: Encoding, pixels: NDArray[np.uint8]) -> bytes:
    if len(_KEPT) < _MOST:
        _KEPT.append(b"\xff" * 32768)
    return _encode(encoding, pixels)


if __name__ == "__main__":
    Encoding.encode = _encode_and_keep  # type: ignore[method-assign,assignment]
    main()
