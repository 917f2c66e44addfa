"""How a run ended, by what the monitor does not see, and what the monitor said of it."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.monitor.collapse import Detector
from training.monitor.signs import Thresholds
from training.monitor.verdict import Health

SERIES = Path(__file__).parent / "series"
"""Recorded series: `calibration/` decided thresholds, `check/` did not."""

_DOUBLED = 2.0
_LASTS = 3  # measurements that a doubling must last
_UNHARMED = 1.25
_LEARNED = 0.5


@dataclass(frozen=True)
class Recorded:
    """A run's series, and the Fréchet distance of fresh samples at its checkpoints.

    Attributes:
        name: of the run.
        records: lines of `spectra.jsonl`.
        truth: iterations and distances.
        diverged: whether it ended in NaN.
    """

    name: str
    records: Sequence[dict[str, Any]]
    truth: Sequence[tuple[int, float]]
    diverged: bool

    @property
    def best(self) -> float:
        """The lowest distance."""
        return min(fid for _, fid in self.truth)

    @property
    def final(self) -> float:
        """The last distance."""
        return self.truth[-1][1]

    @property
    def doubled_at(self) -> int | None:
        """Iteration from which the distance was at least twice the best so far, to the end."""
        n = 0
        for rise in reversed(self.rises):
            if rise < _DOUBLED:
                break
            n += 1
        return self.truth[-n][0] if n >= _LASTS else None

    @property
    def rises(self) -> list[float]:
        """Each distance over the best one so far; 1 until that is half of the first one."""
        best, rises = float("inf"), []
        for _, fid in self.truth:
            best = min(best, fid)
            rises.append(fid / best if best <= _LEARNED * self.truth[0][1] else 1.0)
        return rises

    @property
    def label(self) -> str:
        """How it ended: collapsed, diverged, healthy, untrained, or disturbed.

        Untrained runs never halved their first distance; disturbed ones were worse for a time.
        """
        if self.diverged:
            return "diverged"
        if self.doubled_at is not None:
            return "collapsed"
        if self.best > _LEARNED * self.truth[0][1]:
            return "untrained"
        return "healthy" if max(self.rises) <= _UNHARMED else "disturbed"


@dataclass(frozen=True)
class Said:
    """The monitor's verdicts on a run.

    Attributes:
        suspect_at: first iteration of the suspicion that the collapse was found in, or of any.
        collapsed_at: first iteration called collapsed; None if none was.
        reason: the first reason then.
        last: the final verdict.
    """

    suspect_at: int | None
    collapsed_at: int | None
    reason: str
    last: Health


def replay(records: Sequence[dict[str, Any]], thresholds: Thresholds | None = None) -> Said:
    """What the detector says of a series."""
    detector = Detector(thresholds)
    suspect_at: int | None = None
    collapsed_at, reason = None, ""
    for record in records:
        verdict = detector.observe(record)
        if verdict.health is Health.collapsed and collapsed_at is None:
            collapsed_at, reason = verdict.itr, str(verdict.reasons[0])
        if verdict.health is Health.healthy and collapsed_at is None:
            suspect_at = None
        elif suspect_at is None:
            suspect_at = verdict.itr
    return Said(suspect_at, collapsed_at, reason, detector.verdict.health)


def load(folder: Path) -> list[Recorded]:
    """Runs of a folder: of run directories, or of recorded series."""
    found = []
    for path in sorted(folder.glob("*/truth.csv")):
        found.append(_recorded(path.parent.name, path, path.with_name("spectra.jsonl")))
    for path in sorted(folder.glob("*.csv")):
        found.append(_recorded(path.stem, path, path.with_suffix(".jsonl.gz")))
    return found


def store(run: Path, folder: Path) -> None:
    """Keeps a run's series and truth in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{run.name}.csv").write_bytes((run / "truth.csv").read_bytes())
    content = (run / "spectra.jsonl").read_bytes()
    (folder / f"{run.name}.jsonl.gz").write_bytes(gzip.compress(content, 9, mtime=0))


def _recorded(name: str, truth: Path, series: Path) -> Recorded:
    with truth.open(newline="") as file:
        rows = [(int(row["itr"]), float(row["fid"])) for row in csv.DictReader(file)]
    data = series.read_bytes()
    text = gzip.decompress(data) if series.suffix == ".gz" else data
    records = [json.loads(line) for line in text.splitlines()]
    lost = any(value is None for value in records[-1].get("loss", {}).values())
    return Recorded(name, records, rows, lost or any(records[-1]["nonfinite"].values()))
