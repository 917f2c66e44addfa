"""The loading of models in this process: counted, and held up where a test wants it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.server.calls import TIMEOUT_S, until
from zoo.catalog import Entry
from zoo.generator import Generator, load_generator


class Loads:
    """Stands before the loader of every server of this process.

    Attributes:
        begun: references, in order.
        at_once: most that were under way together.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[str] = []
        self.at_once = self._under_way = 0
        self._may_go_on = threading.Event()
        self._may_go_on.set()

        def load(entry: Entry, *arguments: Any) -> Generator:
            self._under_way += 1
            self.at_once = max(self.at_once, self._under_way)
            self.begun.append(entry.card.reference)
            try:
                assert self._may_go_on.wait(TIMEOUT_S)
                return load_generator(entry, *arguments)
            finally:
                self._under_way -= 1

        monkeypatch.setattr("server.loading.load_generator", load)

    def hold(self) -> None:
        """From now on loads stop before they begin."""
        self.begun.clear()
        self._may_go_on.clear()

    def wait(self, count: int) -> None:
        """Until so many have begun since."""
        until(lambda: len(self.begun) >= count, f"{count} loads")

    def go_on(self) -> None:
        """Lets all of them go on."""
        self._may_go_on.set()
