"""Streaming measures of one series: how it stands against its own past.

Every state is plain data of a bounded size, so that it fits into a checkpoint. Nothing here knows
what the numbers mean, and values are compared with nothing but others of their own series.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median

_SMOOTH = 3  # readings whose median is a level
_WINDOW = 6  # readings that a growth is measured over
_PAST = 40  # readings that it is compared with


def _keep(values: list[float], value: float, most: int) -> None:
    values.append(value)
    del values[:-most]


@dataclass
class Drift:
    """A positive series that should not leave its best level: how far from it, and how steadily.

    Attributes:
        falling_is_better: as of distances; otherwise rising is, as of diversity.
        recent: the newest readings.
        levels: medians of three readings.
        best: the best level.
        readings: how many there were.
        since_best: how many since the best level.
        noise: typical relative change from one reading to the next: what is no trend.
    """

    falling_is_better: bool = True
    recent: list[float] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    best: float | None = None
    readings: int = 0
    since_best: int = 0
    noise: float = 0.0

    def add(self, value: float) -> None:
        """A reading; what is not positive is taken for very small."""
        value = max(value, 1e-12)
        if self.recent:
            change = abs(math.log(value / self.recent[-1]))
            self.noise += (change - self.noise) / min(self.readings, _PAST)
        _keep(self.recent, value, _SMOOTH)
        self.readings += 1
        self.since_best += 1
        if len(self.recent) < _SMOOTH:
            return
        level = median(self.recent)
        _keep(self.levels, level, _PAST)
        if self.best is None or (level < self.best) == self.falling_is_better:
            self.best, self.since_best = level, 0

    @property
    def newest(self) -> float:
        """The newest reading."""
        return self.recent[-1]

    @property
    def loss(self) -> float:
        """Factor by which the level is worse than the best one; 1 at the best."""
        if self.best is None:
            return 1.0
        ratio = self.levels[-1] / self.best
        return ratio if self.falling_is_better else 1.0 / ratio

    @property
    def gaining(self) -> bool:
        """Whether the newest readings are the best ones so far, or nearly."""
        return self.since_best < _SMOOTH and self.loss < 1.0 + self.noise

    @property
    def slide(self) -> float:
        """The smaller of the factors by which both halves of the time since the best made it worse.

        A slow decay shows in both; 1 while the best level is fewer than twelve readings ago.
        """
        n = min(self.since_best + 1, len(self.levels))
        if n <= 2 * _WINDOW:
            return 1.0
        first, middle, last = self.levels[-n], self.levels[-(n // 2) - 1], self.levels[-1]
        factors = (middle / first, last / middle)
        return min(f if self.falling_is_better else 1.0 / f for f in factors)


@dataclass
class Growth:
    """A positive series, of which sudden growth is bad: how fast it grows against its own past.

    Growth is measured in logarithms, over a window of readings. A series that climbs steadily,
    however far, is as it was; one that climbs faster than ever before, and stays up, is not.

    Attributes:
        logs: logarithms of the newest values.
        past: growths over windows that ended before the newest window began.
    """

    logs: list[float] = field(default_factory=list)
    past: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        """A reading; what is not positive is passed over."""
        if value <= 0.0 or not math.isfinite(value):
            return
        if len(self.logs) == 2 * _WINDOW:
            _keep(self.past, self.logs[_WINDOW] - self.logs[0], _PAST)
        _keep(self.logs, math.log(value), 2 * _WINDOW)

    @property
    def newest(self) -> float:
        """Growth over the newest window, to its lowest recent value: a spike that recovers is none."""
        if len(self.logs) <= _WINDOW:
            return 0.0
        return min(self.logs[-_SMOOTH:]) - self.logs[-_WINDOW - 1]

    @property
    def fastest(self) -> float | None:
        """The largest growth over a window of the past; None while too little is known."""
        return max(self.past) if len(self.past) >= _WINDOW else None

    @property
    def usual(self) -> float:
        """How much it has typically moved over a window, in the past."""
        return median(map(abs, self.past))


@dataclass
class Level:
    """Any series: how far its newest level is from its past's, in the past's own spread.

    Attributes:
        recent: the newest readings.
        past: those before.
    """

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
        """Median of the past; None while too little is known."""
        return median(self.past) if len(self.past) >= 2 * _WINDOW else None

    @property
    def deviations(self) -> float:
        """Newest level minus the usual one, in median absolute deviations of the past."""
        usual = self.usual
        if usual is None:
            return 0.0
        spread = median(abs(value - usual) for value in self.past)
        return (self.newest - usual) / max(spread, 1e-9 * max(1.0, abs(usual)))
