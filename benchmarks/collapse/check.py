"""The monitor's verdicts on recorded runs, beside how they ended."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.collapse.outcomes import SERIES, Recorded, Said, load, replay, store
from benchmarks.collapse.runs import RUNS


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=SERIES / "check")
    parser.add_argument("--store", type=Path, help="keep the series in this folder")
    asked = parser.parse_args()
    runs = load(asked.folder)
    if not runs:
        parser.error(f"no runs in {asked.folder}")
    print(table([(run, replay(run.records)) for run in runs]))
    if asked.store:
        for run in runs:
            store(asked.folder / run.name, asked.store)


def table(judged: list[tuple[Recorded, Said]]) -> str:
    """Markdown: a row a run, then the sums."""
    lines = [
        "| run | driven by | best | final | ended | doubled at | suspect at | collapsed at | lead |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run, said in sorted(judged, key=lambda pair: (pair[0].label, pair[0].name)):
        driven = RUNS[run.name].driven if run.name in RUNS else ""
        lead = lead_of(run, said)
        cells = (
            *(run.name, driven or "-", f"{run.best:.0f}", f"{run.final:.0f}", run.label),
            *(run.doubled_at or "-", said.suspect_at or "-", said.collapsed_at or "-"),
            "-" if lead is None else f"{lead:+d}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lost = [(run, said) for run, said in judged if run.label in {"collapsed", "diverged"}]
    found = [lead_of(run, said) for run, said in lost if said.collapsed_at is not None]
    before = [lead for lead in found if lead is not None and lead > 0]
    sound = [said for run, said in judged if run.label == "healthy"]
    false = [said for said in sound if said.collapsed_at is not None]
    uneasy = [said for said in sound if said.suspect_at is not None]
    lines += [
        "",
        f"{len(found)} of {len(lost)} collapses found, {len(before)} of them before the doubling; "
        f"{len(false)} of {len(sound)} healthy runs called collapsed, {len(uneasy)} suspect at "
        "the end or decaying.",
    ]
    return "\n".join(lines)


def lead_of(run: Recorded, said: Said) -> int | None:
    """Iterations from the verdict to the doubling; None where there is not both."""
    if run.doubled_at is None or said.collapsed_at is None:
        return None
    return run.doubled_at - said.collapsed_at


if __name__ == "__main__":
    main()
