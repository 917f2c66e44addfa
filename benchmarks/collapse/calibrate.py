"""How far each threshold of the detector may be moved before it errs on the calibration series.

Those are recorded runs made here, and the published series in `collapse/` of the data folder. An
error is a collapse not found, a healthy run called collapsed, or a slow decay not called one. The
thresholds in use should stand well inside what is printed; runs in `series/check` decide nothing.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from benchmarks.collapse.outcomes import SERIES, load, replay
from training.monitor.series import Series
from training.monitor.signs import Thresholds
from training.monitor.verdict import Health

_FACTORS = (0.25, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
_RATIOS = {
    *("quality_weak", "quality_strong", "quality_collapsed", "proxy", "decay"),
    *("diversity_strong", "diversity_collapsed", "growth", "explosion"),
}  # of which 1 means no change, and the excess over it is scaled

Labelled = tuple[str, Sequence[dict[str, Any]], str]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    runs = labelled(parser.parse_args().data)
    print(f"{len(runs)} series; errors at each multiple of a threshold:\n")
    print(f"| threshold | in use | {' | '.join(f'x{factor:g}' for factor in _FACTORS)} |")
    print(f"|{'---|' * (2 + len(_FACTORS))}")
    for field in fields(Thresholds):
        value = getattr(Thresholds(), field.name)
        errors = [
            len(mistakes(runs, replace(Thresholds(), **{field.name: scaled})))  # type: ignore[arg-type]
            for scaled in (_scaled(field.name, value, factor) for factor in _FACTORS)
        ]
        print(f"| {field.name} | {value:g} | {' | '.join(map(str, errors))} |")
    for mistake in mistakes(runs, Thresholds()):
        print(mistake)


def labelled(data: Path) -> list[Labelled]:
    """Calibration series with how they ended; those of disturbed runs teach nothing."""
    runs = [(run.name, run.records, run.label) for run in load(SERIES / "calibration")]
    found = [run for run in runs if run[2] in {"collapsed", "diverged", "healthy"}]
    labels = data / "collapse" / "labels.csv"
    if labels.is_file():
        with labels.open(newline="") as file:
            for row in csv.DictReader(file):
                path = labels.with_name(f"{row['run']}.csv")
                found.append((row["run"], list(Series(path)), row["label"]))
    return found


def mistakes(runs: Sequence[Labelled], thresholds: Thresholds) -> list[str]:
    """One line for each series that is judged wrongly."""
    wrong = []
    for name, records, label in runs:
        said = replay(records, thresholds)
        called = said.collapsed_at is not None
        if called != (label in {"collapsed", "diverged"}):
            wrong.append(f"{name} is {label}, called {said.last.value}")
        elif label == "slow-decay" and said.last is not Health.decaying:
            wrong.append(f"{name} decays slowly, called {said.last.value}")
    return wrong


def _scaled(name: str, value: float, factor: float) -> float:
    if name in _RATIOS:
        return 1.0 + (value - 1.0) * factor
    return max(1, round(value * factor)) if isinstance(value, int) else value * factor


if __name__ == "__main__":
    main()
