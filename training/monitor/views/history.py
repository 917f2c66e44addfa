"""A run's numbers as columns: each one's iterations and values, by the keys of a record."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

GROWTH_TICKS = 6
"""Readings that a growth is measured over."""

Key = tuple[str, ...]
"""Path of a number in a record: `("G", "linear", "0")` is sigma0 of a layer, `("loss", "d")`."""


@dataclass
class Column:
    """One number over a run: equally many iterations, rising, and values, all finite."""

    itrs: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.values)

    @property
    def newest(self) -> float | None:
        """The last value; None where there is none."""
        return self.values[-1] if self.values else None

    def lowest(self) -> tuple[float, float] | None:
        """Iteration and value of the first minimum; None where there is none."""
        if not self.values:
            return None
        at = self.values.index(min(self.values))
        return self.itrs[at], self.values[at]

    def growth(self) -> Column:
        """Each value over the one `GROWTH_TICKS` readings before it; 1 is no growth."""
        grown = Column()
        for itr, value, before in zip(
            self.itrs[GROWTH_TICKS:], self.values[GROWTH_TICKS:], self.values, strict=False
        ):
            if value > 0 and before > 0:
                grown.itrs.append(itr)
                grown.values.append(value / before)
        return grown

    def newest_growth(self) -> float | None:
        """The last value of `growth`, without the others; None where there is none."""
        tail = slice(-GROWTH_TICKS - 1, None)
        return Column(self.itrs[tail], self.values[tail]).growth().newest

    def after(self, itr: float) -> Column:
        """The part from the last reading up to `itr` on, so that a line begins where it left."""
        start = max(0, sum(at <= itr for at in self.itrs) - 1)
        return Column(self.itrs[start:], self.values[start:])


class History:
    """Collects records; whatever in them is not a finite number is passed over."""

    def __init__(self) -> None:
        self.columns: dict[Key, Column] = {}
        self.rows = 0
        self.itr: float | None = None
        """Of the newest record."""

    def add(self, record: dict[str, Any]) -> None:
        """A record with a rising `itr`."""
        self.rows += 1
        self.itr = record["itr"]
        for key, value in _numbers(record):
            column = self.columns.setdefault(key, Column())
            column.itrs.append(record["itr"])
            column.values.append(value)

    def __getitem__(self, key: str | Key) -> Column:
        """A column, empty where nothing was recorded."""
        return self.columns.get((key,) if isinstance(key, str) else key, Column())

    def below(self, *prefix: str) -> list[str]:
        """What stands below a key, in the order of the records: the layers of `("G",)`."""
        depth = len(prefix)
        found = [key[depth] for key in self.columns if len(key) > depth and key[:depth] == prefix]
        return list(dict.fromkeys(found))


def _numbers(tree: Any, prefix: Key = ()) -> Iterator[tuple[Key, float]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _numbers(value, (*prefix, str(key)))
    elif isinstance(tree, list):
        for i, value in enumerate(tree):
            yield from _numbers(value, (*prefix, str(i)))
    elif isinstance(tree, int | float) and not isinstance(tree, bool) and math.isfinite(tree):
        yield prefix, float(tree)
