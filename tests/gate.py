"""A gate before every generator of this process, to hold up, count and break batches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zoo.generator import Generator

_TIMEOUT_S = 10.0


class Gate:
    """Stands before every generator of this process: open, closed, or broken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open = threading.Event()
        self._open.set()
        self._arrived = threading.Semaphore(0)
        self.failure = ""  # if set, every batch fails with these words
        self.seeds: list[int] = []
        real = Generator.generate

        def generate(
            generator: Generator,
            seeds: Sequence[int],
            *others: Any,
        ) -> NDArray[np.uint8]:
            self.seeds += seeds
            self._arrived.release()
            assert self._open.wait(_TIMEOUT_S)
            if self.failure:
                raise RuntimeError(self.failure)
            return real(generator, seeds, *others)

        monkeypatch.setattr(Generator, "generate", generate)

    def close(self) -> None:
        """From now on batches stop here."""
        while self._arrived.acquire(blocking=False):
            pass
        self.seeds.clear()
        self._open.clear()

    def wait(self, batches: int = 1) -> None:
        """Until so many batches have arrived since `close`."""
        for _ in range(batches):
            assert self._arrived.acquire(timeout=_TIMEOUT_S)

    def open(self) -> None:
        """Lets everything pass."""
        self._open.set()
