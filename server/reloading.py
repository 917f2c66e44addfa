"""Files that are read again when they change, while the server runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog

from server.errors import CredentialsError

INTERVAL_S: Final = 1.0

_log = structlog.get_logger()

_Signature = tuple[tuple[int, ...], ...]


class ReloadedFiles:
    """Loads some files now, and again after they have changed.

    A change counts once the files have been the same for an interval, so that neither half a file
    nor a new certificate beside the old key is taken. What cannot be used is told in the log, once,
    and what was loaded before stays.

    Args:
        what: what the files are, for the log.
        files: the files.
        load: reads them; from another thread after the first time.

    Raises:
        CredentialsError: they cannot be used.
    """

    def __init__(self, what: str, files: Iterable[Path], load: Callable[[], None]) -> None:
        self._what = what
        self._files = tuple(files)
        self._load = load
        self._tried = self._seen = self._signature()
        load()

    async def watch(self) -> None:
        """Looks at the files now and then, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            await asyncio.to_thread(self._look)

    def _look(self) -> None:
        signature, before = self._signature(), self._seen
        self._seen = signature
        if signature == self._tried or signature != before:
            return
        self._tried = signature
        named = {"what": self._what, "files": [str(file) for file in self._files]}
        try:
            self._load()
        except CredentialsError as error:
            _log.error("files not reloaded, the old ones stay in use", **named, reason=str(error))
        else:
            _log.info("files reloaded", **named)

    def _signature(self) -> _Signature:
        return tuple(map(_signature, self._files))


def _signature(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()  # of what a link leads to: Kubernetes swaps links
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def read(file: Path) -> bytes:
    """A file's content.

    Raises:
        CredentialsError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise CredentialsError(f"{file}: cannot be read: {error.strerror}") from error
