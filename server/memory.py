"""What the C library does with freed memory; nothing where it is not glibc."""

from __future__ import annotations

import ctypes
from typing import Final

_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD in malloc.h
_LARGE_BYTES: Final = 1024 * 1024

_libc = ctypes.CDLL(None)


def return_large_blocks() -> None:
    """Blocks of a megabyte and more go back to the system whenever they are freed.

    glibc does so at first, but each large block that is freed, such as the weights of a model,
    makes it keep blocks of up to that size: a server that loads models grew by tens of MB.
    """
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)


def return_freed() -> None:
    """What is free of smaller blocks goes back to the system now."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
