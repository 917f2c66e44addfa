"""One call, from its arrival to its end: what metrics and traces hear of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Protocol

from server.batch import BatchTimes
from server.telemetry.metrics import Metrics
from zoo.card import Card

OWNER: Final[ContextVar[str | None]] = ContextVar("owner", default=None)
"""The name of the API key that the running call came with."""

Observer = Callable[[int, BatchTimes | None], None]
"""Told how many of a call's images there are, and of the batch that they come from; None: they
were kept from an earlier call."""

_CURRENT: Final[ContextVar[Call | None]] = ContextVar("call", default=None)

# gRPC rounds a deadline up by as much as a hundredth, and the server hears of it later than the
# client: what is cancelled this close to its deadline was cancelled by it.
_ROUNDING, _ON_THE_WAY_S = 0.02, 0.02


class CallTrace(Protocol):
    """The spans of one call; `server/telemetry/tracing.py` has them."""

    @property
    def ids(self) -> dict[str, str]:
        """`trace_id`, in hexadecimal digits."""

    @property
    def recorded(self) -> bool:
        """Whether the spans are going to be sent."""

    def plan(self, card: Card, count: int) -> None:
        """Told what the call makes, when it begins to wait."""

    def batch(self, images: int, times: BatchTimes) -> None:
        """Told of a batch that had some of its images."""

    def end(self, code: str, rejection: str | None) -> None:
        """Told the outcome, last."""


class Call:
    """A call's time and outcome, told however it ends. Everything happens on one event loop.

    Args:
        metrics: of the server.
        path: `/package.Service/Method`, of a method that the server has.
        context: gRPC's.
        trace: its spans, if there are traces.
    """

    __slots__ = (
        "_code",
        "_context",
        "_method",
        "_metrics",
        "_owner",
        "_rejection",
        "_started_s",
        "_trace",
    )

    def __init__(self, metrics: Metrics, path: str, context: Any, trace: CallTrace | None) -> None:
        self._metrics = metrics
        self._method = metrics.method(path)
        self._context = context
        self._trace = trace
        self._owner = OWNER.get()
        self._code = "OK"
        self._rejection: str | None = None

    @property
    def labels(self) -> dict[str, str]:
        """What a line of the log says of the call."""
        return {"method": self._method.name, **(self._trace.ids if self._trace else {})}

    def __enter__(self) -> Call:
        self._started_s = time.perf_counter()
        self._method.began()
        _CURRENT.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        seconds = time.perf_counter() - self._started_s
        if kind is not None and issubclass(kind, asyncio.CancelledError | GeneratorExit):
            self._code = _cancelled(self._context.time_remaining(), seconds)
        trace = self._trace
        exemplar = trace.ids if trace is not None and trace.recorded else None
        self._method.ended(self._code, seconds, exemplar)
        if self._owner is not None:
            self._metrics.key_request(self._owner, self._code)
        if trace is not None:
            trace.end(self._code, self._rejection)

    def fail(self, code: str, rejection: str | None) -> None:
        """Sets the outcome: a status code, and why it was refused if that was on purpose."""
        self._code, self._rejection = code, rejection
        if rejection is not None:
            self._metrics.rejected(rejection)

    def plan(self, card: Card, count: int) -> Observer | None:
        """Told what the call makes, when it begins to wait; who is to hear of its images."""
        self._metrics.asked(card, count)
        traced = self._trace is not None and self._trace.recorded
        if self._trace is not None and traced:
            self._trace.plan(card, count)
        return self._images if traced or self._owner is not None else None

    def _images(self, images: int, times: BatchTimes | None) -> None:
        if self._owner is not None:
            self._metrics.key_images(self._owner, images)
        if self._trace is not None and times is not None:
            self._trace.batch(images, times)


def observer(card: Card, count: int) -> Observer | None:
    """Tells the call that runs here what it makes; returns who is to hear of its images."""
    call = _CURRENT.get()
    return None if call is None else call.plan(card, count)


def _cancelled(remaining_s: float | None, took_s: float) -> str:
    """By its deadline, or else by the caller or a shutdown."""
    if remaining_s is None:
        return "CANCELLED"
    slack_s = _ON_THE_WAY_S + _ROUNDING * (took_s + remaining_s)
    return "DEADLINE_EXCEEDED" if remaining_s <= slack_s else "CANCELLED"
