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
_LONG = 20  # readings that a slow drift must take
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
        changes: sizes of the newest relative changes from one reading to the next.
    """

    falling_is_better: bool = True
    recent: list[float] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    best: float | None = None
    readings: int = 0
    since_best: int = 0
    changes: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        """A reading; what is not positive is taken for very small."""
        value = max(value, 1e-12)
        if self.recent:
            _keep(self.changes, abs(math.log(value / self.recent[-1])), _PAST // 2)
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
    def noise(self) -> float:
        """Typical relative change from one reading to the next: what is no trend."""
        return median(self.changes) if self.changes else 0.0

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
        """How much worse the last third of the time since the best was than the first third.

        A factor; 1 unless the middle third lies between them, and while the best level is fewer
        than twenty readings ago.
        """
        n = min(self.since_best + 1, len(self.levels))
        if n < _LONG:
            return 1.0
        since, third = self.levels[-n:], n // 3
        first, middle, last = (
            median(part) for part in (since[:third], since[third:-third], since[-third:])
        )
        if not self.falling_is_better:
            first, middle, last = 1.0 / first, 1.0 / middle, 1.0 / last
        return last / first if first < middle < last else 1.0


@dataclass
class Growth:
    """A positive series, of which sudden growth is bad: how fast it grows against its own past.

    A series that climbs steadily, however far, is as it was. One that climbs faster than ever
    before has set off from its anchor, until it comes back, or has stayed where it is for long.

    Attributes:
        least: logarithm of the growth within a window that is anything at all.
        acceleration: times the fastest growth of the past that is faster than ever.
        logs: logarithms of the newest values.
        past: growths over windows that ended before the newest one began, while not set off.
        anchor: logarithm of the value that it set off from; None while it has not.
        idle: readings since then without such growth.
    """

    least: float
    acceleration: float
    logs: list[float] = field(default_factory=list)
    past: list[float] = field(default_factory=list)
    anchor: float | None = None
    idle: int = 0

    def add(self, value: float, *, learning: bool = False) -> None:
        """A reading; what is not positive is passed over.

        Args:
            value: the reading.
            learning: the run is getting better, and growth is how it does: it is no setting off.
        """
        if value <= 0.0 or not math.isfinite(value):
            return
        if learning:
            self.anchor = None
        if len(self.logs) == 2 * _WINDOW and self.anchor is None:
            _keep(self.past, self.logs[_WINDOW] - self.logs[0], _PAST)
        _keep(self.logs, math.log(value), 2 * _WINDOW)
        if len(self.logs) <= _WINDOW or len(self.past) < _WINDOW:
            return
        # To the lowest recent value: a spike that recovers is no growth.
        lowest = min(self.logs[-_SMOOTH:])
        newest, fastest = lowest - self.logs[-_WINDOW - 1], max(0.0, *self.past)
        grows = newest >= max(self.least, self.acceleration * fastest)
        if learning:
            return
        if self.anchor is None:
            self.anchor, self.idle = (self.logs[-_WINDOW - 1], 0) if grows else (None, 0)
            return
        self.idle = 0 if grows else self.idle + 1
        if lowest - self.anchor < self.least or self.idle > 2 * _WINDOW:
            self.anchor = None

    @property
    def factor(self) -> float:
        """Growth since it set off; 1 if it has not."""
        if self.anchor is None:
            return 1.0
        return math.exp(min(self.logs[-_SMOOTH:]) - self.anchor)


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
        """Median of the three newest readings."""
        return median(self.recent[-_SMOOTH:])

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
