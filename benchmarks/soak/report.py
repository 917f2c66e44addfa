"""What one client process has seen, on its way to the process that judges."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

WINDOWS: Final = 12  # equal parts of the time, by which latencies are told
_MANY: Final = 20  # mistakes that are told in full


@dataclass
class Report:
    """Of one client, or of all together.

    Attributes:
        answered: calls that ended with the server's word, by "METHOD CODE".
        given_up: calls that the client ended, by method: the server may have counted them as
            anything, or never have seen them.
        beside: calls and connections that gRPC itself refuses, which no metric counts, by kind.
        wrong: what must not be, in words.
        windows: calls, p50 and p99 in ms, by part of the time; of callers that verify.
    """

    answered: Counter[str] = field(default_factory=Counter)
    given_up: Counter[str] = field(default_factory=Counter)
    beside: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    windows: dict[int, tuple[int, float, float]] = field(default_factory=dict)

    def complain(self, words: str) -> None:
        """Notes a mistake; of many the first are told."""
        if len(self.wrong) < _MANY:
            self.wrong.append(words)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        """What `to_json` wrote."""
        found: dict[str, Any] = json.loads(text)
        return cls(
            Counter(found["answered"]),
            Counter(found["given_up"]),
            Counter(found["beside"]),
            found["wrong"],
            {int(window): tuple(values) for window, values in found["windows"].items()},
        )

    @classmethod
    def together(cls, reports: Iterable[Report]) -> Report:
        """The sum."""
        total = cls()
        for report in reports:
            total.answered += report.answered
            total.given_up += report.given_up
            total.beside += report.beside
            total.wrong += report.wrong
            total.windows |= report.windows
        return total


class Latencies:
    """Durations of calls by part of the time."""

    def __init__(self, start_s: float, seconds: float) -> None:
        self._start_s = start_s
        self._window_s = seconds / WINDOWS
        self._ms: dict[int, list[float]] = {}

    def add(self, sent_s: float) -> None:
        """A call that was sent then, by `time.monotonic`, has ended now."""
        window = min(WINDOWS - 1, int((sent_s - self._start_s) / self._window_s))
        self._ms.setdefault(window, []).append((time.monotonic() - sent_s) * 1e3)

    def windows(self) -> dict[int, tuple[int, float, float]]:
        """Calls, p50 and p99 in ms, by window."""
        found = {}
        for window, ms in sorted(self._ms.items()):
            p50, p99 = (round(float(quantile), 2) for quantile in np.quantile(ms, (0.5, 0.99)))
            found[window] = len(ms), p50, p99
        return found
