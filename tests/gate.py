"""Gates in the way of every batch of this process, to hold up, count and break it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from server.encoding import Encoding
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


class EncodingGate:
    """Stands before every image that is to be encoded: open or closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open = threading.Event()
        self._open.set()
        self._arrived = threading.Semaphore(0)
        real = Encoding.encode

        def encode(encoding: Encoding, pixels: NDArray[np.uint8]) -> bytes:
            if not self._open.is_set():
                self._arrived.release()
                assert self._open.wait(_TIMEOUT_S)
            return real(encoding, pixels)

        monkeypatch.setattr(Encoding, "encode", encode)

    def close(self) -> None:
        """From now on images stop here, computed but not encoded."""
        while self._arrived.acquire(blocking=False):
            pass
        self._open.clear()

    def wait(self) -> None:
        """Until an image has arrived since `close`."""
        assert self._arrived.acquire(timeout=_TIMEOUT_S)

    def open(self) -> None:
        """Lets everything pass."""
        self._open.set()
