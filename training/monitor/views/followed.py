"""One recorded series, judged row by row, while it is written or afterwards."""

from __future__ import annotations

import math
from pathlib import Path

from training.monitor.collapse import Detector
from training.monitor.series import Series
from training.monitor.signs import is_number
from training.monitor.verdict import Verdict
from training.monitor.views.history import History
from training.monitor.views.tail import Tail


class Followed:
    """A file of records; `poll` reads what it has got since.

    Args:
        path: JSON lines with a rising `itr`, or a CSV; need not be there yet.
    """

    history: History
    """The records."""
    verdict: Verdict | None
    """After the newest record; None before the first."""
    changes: list[Verdict]
    """The first verdict, and each whose health is not the one before."""

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)
        self._begin()

    def _begin(self) -> None:
        self._detector, self._passed_over = Detector(), 0
        self.history, self.verdict, self.changes = History(), None, []

    @property
    def unreadable(self) -> int:
        """Rows that were passed over."""
        return self._passed_over + self._tail.unreadable

    @property
    def changed_at(self) -> float | None:
        """When it was last written, in seconds since 1970."""
        try:
            return self._tail.path.stat().st_mtime
        except OSError:
            return None

    def poll(self) -> None:
        """Judges the new rows; a file that begins again is judged from its start.

        Raises:
            RunError: the file cannot be read.
        """
        if self._tail.path.suffix == ".csv":
            self._begin()
            series = Series(self._tail.path)
            rows = list(series) if self._tail.path.exists() else []
            self._passed_over = len(series.unreadable)
        else:
            again, rows = self._tail.poll()
            if again:
                self._begin()
        for row in rows:
            before = -math.inf if self.history.itr is None else self.history.itr
            if not is_number(row.get("itr")) or row["itr"] <= before:
                self._passed_over += 1
                continue
            self.history.add(row)
            self.verdict = self._detector.observe(row)
            if not self.changes or self.verdict.health is not self.changes[-1].health:
                self.changes.append(self.verdict)
