"""Changes that are made one at a time, and finished even where whoever wanted them has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from server.errors import NotReady

T = TypeVar("T")
Change = Callable[[], Coroutine[Any, Any, T]]


class Turns:
    """Makes changes in the order in which they were asked for; of one event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def begin(self, change: Change[T]) -> asyncio.Task[T]:
        """A change on its way; who waits for it shields it.

        It raises what the change raises, and NotReady if its turn did not come before `close`.
        """
        task = asyncio.create_task(self._run(change))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def make(self, change: Change[T]) -> T:
        """Makes a change; raises as `begin` does."""
        return await asyncio.shield(self.begin(change))

    async def close(self) -> None:
        """Waits for the change that is being made; those that wait for their turn are given up."""
        self._closed = True
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, change: Change[T]) -> T:
        async with self._turn:
            if self._closed:
                raise NotReady("the server is stopping")
            return await change()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # perhaps nobody else looks
