"""Computing one iteration ahead, in a thread that ends with its iteration."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetched(Generic[T]):
    """A pure function of the iteration, with the next value computed while one is used.

    Never two at once. An error in the thread is raised by the call that asks for its value.
    """

    def __init__(self, function: Callable[[int], T]) -> None:
        self._function = function
        self._itr = -1
        self._value: Future[T] = Future()
        self._thread: Thread | None = None

    def __call__(self, itr: int) -> T:
        """The value at `itr`; what `itr` - 1 was asked for has begun it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            value = self._value.result() if self._itr == itr else self._function(itr)
        else:
            value = self._function(itr)
        self._begin(itr + 1)
        return value

    def _begin(self, itr: int) -> None:
        value: Future[T] = Future()

        def compute() -> None:
            try:
                value.set_result(self._function(itr))
            except BaseException as error:  # noqa: BLE001  # handed to the thread that asks
                value.set_exception(error)

        self._itr, self._value = itr, value
        self._thread = Thread(target=compute, name=f"prefetch of iteration {itr}")
        self._thread.start()
