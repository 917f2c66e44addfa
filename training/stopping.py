"""Asking a long job to stop: the first signal finishes what is in hand, the second one does not."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_STDERR = 2


class StopRequest:
    """While entered, SIGINT and SIGTERM set `requested`; a second one ends the process at once.

    The exit code of the second is 128 plus the signal's number, as shells have it.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, message: str) -> None:
        self.requested = False
        self._message = message

    def __enter__(self) -> StopRequest:
        self._previous = {
            number: signal.signal(number, self._on_signal) for number in self._SIGNALS
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.requested:
            if sys.stderr.isatty():
                os.write(_STDERR, b"\x1b[?25h")  # the progress bar had hidden the cursor
            os._exit(128 + number)
        self.requested = True
        # os.write, because a signal may arrive while sys.stderr is being written to.
        if self._message:
            os.write(_STDERR, f"\n{self._message}\n".encode())
