"""Streaming measures of one series: how it stands against its own past.

Every state is plain data with a bounded size, so that it fits into a checkpoint. Nothing here knows
what the numbers mean, and no value is compared with anything but other values of its own series.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

_SMOOTH = 3  # readings whose median is a level
_WINDOW = 6  # ticks that a growth is measured over
_PAST = 40  # ticks that it is compared with


def _keep(values: list[float], value: float, most: int) -> None:
    values.append(value)
    del values[:-most]


@dataclass
class Quality:
    """A distance to real images, of which lower is better: how far it has risen from its best.

    Attributes:
        recent: the newest readings.
        best: lowest median of three readings.
        best_itr: when it was reached.
        readings: how many there were, and how many since the best one.
        since_best: readings since then.
        noise: typical relative change from one reading to the next, which is no trend.
    """

    recent: list[float] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    best: float = math.inf
    best_itr: float = 0
    readings: int = 0
    since_best: int = 0
    noise: float = 0.0

    def add(self, itr: float, value: float) -> None:
        """A reading, above 0."""
        if self.recent:
            change = abs(math.log(value / self.recent[-1]))
            self.noise += (change - self.noise) / min(self.readings, _PAST)
        _keep(self.recent, value, _SMOOTH)
        self.readings += 1
        level = median(self.recent)
        _keep(self.levels, level, _PAST)
        self.since_best += 1
        if level < self.best:
            self.best, self.best_itr, self.since_best = level, itr, 0

    @property
    def rise(self) -> float:
        """Level over the best one; 1 at the best."""
        return self.levels[-1] / self.best if self.levels else 1.0


@dataclass
class Growth:
    """A positive series, of which sudden growth is bad: how fast it grows against its own past.

    Growth is measured in logarithms, over a window of ticks. A series that climbs steadily, however
    far, is as it was; one that climbs faster than it ever did, and stays up, is not.

    Attributes:
        logs: logarithms of the newest values.
        past: growths over windows that ended before the newest window began.
    """

    logs: list[float] = field(default_factory=list)
    past: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        """A reading, above 0."""
        if len(self.logs) == 2 * _WINDOW:
            _keep(self.past, self.logs[_WINDOW - 1] - self.logs[0], _PAST)
        _keep(self.logs, math.log(value), 2 * _WINDOW)

    @property
    def newest(self) -> float:
        """Growth over the newest window, of the median of its end; 0 while there is too little."""
        if len(self.logs) <= _WINDOW:
            return 0.0
        return median(self.logs[-_SMOOTH:]) - median(self.logs[-_WINDOW - _SMOOTH : -_WINDOW])

    @property
    def usual(self) -> float | None:
        """How much it has typically moved over a window; None while nobody knows."""
        return median(map(abs, self.past)) if len(self.past) >= _WINDOW else None

    @property
    def fastest(self) -> float:
        """The largest growth over a window, in the past."""
        return max(self.past, default=0.0)


@dataclass
class Level:
    """Any series: how far its newest level is from those of its past, in their own spread."""

    recent: list[float] = field(default_factory=list)
    past: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        """A reading."""
        if len(self.recent) == _WINDOW:
            _keep(self.past, self.recent[0], _PAST)
        _keep(self.recent, value, _WINDOW)

    @property
    def newest(self) -> float:
        """Median of the newest readings."""
        return median(self.recent)

    @property
    def usual(self) -> float | None:
        """Median of the past; None while there is too little."""
        return median(self.past) if len(self.past) >= 2 * _WINDOW else None

    @property
    def deviations(self) -> float:
        """Newest level minus the usual one, in median absolute deviations of the past."""
        if self.usual is None:
            return 0.0
        usual = self.usual
        spread = median(abs(value - usual) for value in self.past)
        return (self.newest - usual) / max(spread, 1e-9 * max(1.0, abs(usual)))


def to_plain(trend: Any) -> dict[str, Any]:
    """A trend as lists and numbers."""
    return asdict(trend)


def geometric_mean(values: Sequence[float]) -> float | None:
    """Of the positive ones among `values`; None without any."""
    logs = [math.log(value) for value in values if value > 0 and math.isfinite(value)]
    return math.exp(sum(logs) / len(logs)) if logs else None
