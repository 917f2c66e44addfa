"""Runs that collapse, trained once more with rollback: which of them does it save?

python -m benchmarks.collapse.train_all --on-collapse rollback --out runs/rollback NAME…
python -m benchmarks.collapse.rollback runs/rollback
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.collapse.outcomes import SERIES, load
from training.runlog import EVENTS

_SAVED = 1.2  # the last distance over the best one


def main() -> None:
    """Prints a table; the last distance is that of the newest checkpoint that was kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="runs with rollback")
    parser.add_argument("without", nargs="?", type=Path, default=SERIES / "check")
    asked = parser.parse_args()
    without = {run.name: run for run in load(asked.without)}
    print("| run | best without | last without | best with | last with | at | rollbacks | saved |")
    print("|---|---|---|---|---|---|---|---|")
    saved = 0
    runs = load(asked.folder)
    for run in runs:
        before = without[run.name]
        best = min(run.best, before.best)
        events = asked.folder / run.name / EVENTS
        lines = events.read_text(encoding="utf-8").splitlines() if events.exists() else []
        rollbacks = [json.loads(line) for line in lines if json.loads(line)["event"] == "rollback"]
        good = run.final <= _SAVED * best
        saved += good
        cells = (
            *(run.name, f"{before.best:.0f}", f"{before.final:.0f}"),
            *(f"{run.best:.0f}", f"{run.final:.0f}", run.truth[-1][0]),
            *(len(rollbacks), "yes" if good else "no"),
        )
        print(f"| {' | '.join(map(str, cells))} |")
    kept = sum(without[run.name].final <= _SAVED * without[run.name].best for run in runs)
    print(f"\n{saved} of {len(runs)} end within 20% of their best with rollback, {kept} without.")


if __name__ == "__main__":
    main()
