"""Callers that ask all the time while a model changes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import groupby

from tests.server.admin_calls import Keyed
from tests.server.calls import TIMEOUT_S, connect, until


def image(calls: Keyed, model: str = "toy") -> bytes:
    return calls.generate(model, seed=1)[0].data


class Traffic:
    """Callers that ask without a pause, each on a connection of its own.

    Attributes:
        seen: what each caller got, in order.
    """

    def __init__(self, address: str, stack: ExitStack, callers: int = 6) -> None:
        self._done = threading.Event()
        self.seen: list[list[bytes]] = [[] for _ in range(callers)]
        pool = stack.enter_context(ThreadPoolExecutor(callers))
        stack.callback(self._done.set)
        self._callers = [pool.submit(self._ask, address, seen) for seen in self.seen]

    def _ask(self, address: str, seen: list[bytes]) -> None:
        with connect(address) as stubs:
            calls = Keyed(stubs.channel)
            while not self._done.is_set():
                if len(seen) % 3:
                    seen.append(image(calls))
                else:
                    seen += {answer.data for answer in calls.stream("toy", seed=1)}

    def more(self) -> None:
        """Until each has been answered at least four times more."""
        before = [len(seen) for seen in self.seen]

        def all_are() -> bool:
            return all(len(s) > n + 3 for s, n in zip(self.seen, before, strict=True))

        until(lambda: all_are() or any(c.done() for c in self._callers), "answers")

    def stop(self) -> None:
        """Raises what a call failed with."""
        self._done.set()
        for caller in self._callers:
            caller.result(TIMEOUT_S)


def changes(seen: list[bytes]) -> list[bytes]:
    return [data for data, _ in groupby(seen)]
