"""A run as far as its files tell, while it trains in another process or afterwards."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import yaml

from training.errors import RunError
from training.monitor.verdict import Verdict
from training.monitor.views.followed import Followed
from training.monitor.views.history import History
from training.monitor.views.tail import Tail
from training.runlog import CONFIG, EVENTS, METRICS, PROVENANCE, SPECTRA

_SERIES_ENDINGS = (".jsonl", ".csv")


class ObservedRun:
    """What is known of a run; `poll` reads what its files have got since.

    Args:
        path: a run directory, or a `spectra.jsonl` or CSV of anybody's loop; its files may come
            later.

    Raises:
        RunError: neither is there, and no loop could be about to write it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_folder = path.is_dir()
        if not (path.exists() or (path.suffix in _SERIES_ENDINGS and path.parent.is_dir())):
            raise RunError(f"{path}: there is no such file or run directory")
        self._spectra = Followed(path / SPECTRA if self.is_folder else path)
        self._metrics = Followed(path / METRICS) if self.is_folder else None
        self._events = Tail(path / EVENTS) if self.is_folder else None
        self.events: list[dict[str, Any]] = []
        """Rollbacks and stops, oldest first."""

    def poll(self) -> None:
        """Reads what is new.

        Raises:
            RunError: a file cannot be read.
        """
        self._spectra.poll()
        if self._metrics is not None:
            self._metrics.poll()
        if self._events is not None:
            again, new = self._events.poll()
            self.events = ([] if again else self.events) + new

    @property
    def spectra(self) -> History:
        """The ticks of the monitor; of a run without one its metrics."""
        return self._judged.history

    @property
    def metrics(self) -> History:
        """Of a run directory its metrics, else the same as `spectra`."""
        if self._metrics is not None and self._metrics.history.rows:
            return self._metrics.history
        return self.spectra

    @property
    def verdict(self) -> Verdict | None:
        """The newest one; None before the first row."""
        return self._judged.verdict

    @property
    def changes(self) -> list[Verdict]:
        """The first verdict, and each whose health is not the one before."""
        return self._judged.changes

    @property
    def _judged(self) -> Followed:
        if self._metrics is None or self._spectra.history.rows:
            return self._spectra
        return self._metrics

    @property
    def itr(self) -> int:
        """The newest iteration of which anything is known; 0 before the first."""
        return int(max(self.spectra.itr or 0, self.metrics.itr or 0))

    @property
    def unreadable(self) -> int:
        """Rows that were passed over."""
        return self._judged.unreadable

    @property
    def name(self) -> str:
        """Of the recipe, else of the file."""
        return str(self.recipe.get("name") or self.path.resolve().name)

    @property
    def recipe(self) -> dict[str, Any]:
        """`config.yaml` as it is now; empty where there is none."""
        try:
            loaded = yaml.safe_load((self.path / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    @property
    def total_itr(self) -> int | None:
        """How many iterations the recipe asks for, as far as can be told; else None."""
        recipe, epoch = self.recipe, self.metrics["epoch"]
        limits = [recipe["max_itr"]] if isinstance(recipe.get("max_itr"), int) else []
        if isinstance(recipe.get("epochs"), int) and epoch.newest:
            limits.append(round(recipe["epochs"] * epoch.itrs[-1] / epoch.newest))
        return min(limits, default=None)

    @property
    def finished(self) -> bool:
        """Whether the run was carried out to its end."""
        try:
            note = json.loads((self.path / PROVENANCE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(note, dict) and bool(note.get("finished"))

    @property
    def stopped(self) -> bool:
        """Whether the monitor ended the run, and nobody has gone on with it."""
        newest = self.events[-1] if self.events else {}
        itr = newest.get("itr")
        return newest.get("event") == "stop" and isinstance(itr, int) and itr >= self.itr

    @property
    def written_s_ago(self) -> float | None:
        """Seconds since a series was last written to; None where there is none."""
        followed = [self._spectra, self._metrics]
        times = [f.changed_at for f in followed if f is not None and f.changed_at is not None]
        return max(0.0, time.time() - max(times)) if times else None

    @property
    def monitor_share(self) -> float | None:
        """Share of a run's time that the monitor took, 0 to 1; None where it cannot be told."""
        return monitor_share(self.spectra, self.metrics)


def monitor_share(spectra: History, metrics: History) -> float | None:
    """Share of a run's time that the monitor took, 0 to 1, by its ticks and the speed of the run.

    Args:
        spectra: with `monitor_s`.
        metrics: with `images_seen` and `images_per_s`, which counts the monitor's time.
    """
    ticks, rate, seen = spectra["monitor_s"], metrics["images_per_s"], metrics["images_seen"]
    if not ticks or not rate or rate.itrs != seen.itrs:
        return None
    added = [seen.values[0], *(b - a for a, b in zip(seen.values, seen.values[1:], strict=False))]
    elapsed_s = sum(n / r for n, r in zip(added, rate.values, strict=True) if r > 0)
    last = rate.itrs[-1]
    spent_s = sum(s for itr, s in zip(ticks.itrs, ticks.values, strict=True) if itr <= last)
    return spent_s / elapsed_s if elapsed_s > 0 else None
