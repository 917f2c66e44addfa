"""Reading a file that somebody else put there: only a plain file, never a surprise."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular_file(path: Path, limit: int | None = None) -> bytes:
    """A file's content; at most `limit` + 1 bytes, so that a caller can see that it is longer.

    Raises:
        OSError: it is missing or unreadable, or a symbolic link, a folder, a pipe, a device.
    """
    try:
        # Non-blocking, because opening a pipe would otherwise wait for somebody to write to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "is a symbolic link") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read() if limit is None else file.read(limit + 1)
    finally:
        os.close(descriptor)
