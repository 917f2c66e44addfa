"""A soak in a table for docs/benchmarks.md, and as a picture."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.soak.checks import growth
from benchmarks.soak.report import WINDOWS, Report
from benchmarks.soak.watching import Sample


def table(seconds: float, report: Report, samples: Sequence[Sample]) -> str:
    """Twelve rows over time."""
    lines = [
        "| until, min | verified calls | p50 ms | p99 ms | memory, MiB | threads | descriptors |",
        "|---|---|---|---|---|---|---|",
    ]
    for window in range(WINDOWS):
        start_s, end_s = (seconds * (window + more) / WINDOWS for more in (0, 1))
        calls, p50_ms, p99_ms = report.windows.get(window, (0, float("nan"), float("nan")))
        held = [sample for sample in samples if start_s <= sample.time_s < end_s]
        rest = " | ".join(
            f"{statistics.median(column):.0f}" for column in list(zip(*held, strict=True))[1:]
        )
        lines.append(f"| {end_s / 60:.1f} | {calls} | {p50_ms:.1f} | {p99_ms:.1f} | {rest} |")
    return "\n".join(lines)


def summary(report: Report, counted: Counter[str], samples: Sequence[Sample]) -> str:
    """What came of all calls, in a few lines."""
    codes: Counter[str] = Counter()
    for call, n in report.answered.items():
        codes[call.split()[1]] += n
    told = ", ".join(f"{n:,} {code}" for code, n in codes.most_common())
    beside = ", ".join(f"{n:,} {kind}" for kind, n in sorted(report.beside.items()))
    return (
        f"{sum(codes.values()):,} calls were answered: {told}; {report.given_up.total():,} were "
        f"given up by their clients. The server counted {counted.total():,}.\n"
        f"Beside them: {beside}.\n"
        f"From the second to the last fifth of the time: "
        f"{growth([sample.memory_mib for sample in samples]):+.1f} MiB, "
        f"{growth([sample.threads for sample in samples]):+.0f} threads, "
        f"{growth([sample.descriptors for sample in samples]):+.0f} descriptors."
    )


def draw(file: Path, seconds: float, report: Report, samples: Sequence[Sample]) -> None:
    """Memory and latency over time, as a PNG."""
    import matplotlib.figure  # not needed otherwise

    figure = matplotlib.figure.Figure(figsize=(8, 5), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    above.plot([s.time_s / 60 for s in samples], [s.memory_mib for s in samples])
    above.set(ylabel="resident memory, MiB", ylim=(0, None))
    windows = sorted(report.windows)
    minutes = [seconds * (window + 0.5) / WINDOWS / 60 for window in windows]
    for index, name in ((1, "p50"), (2, "p99")):
        below.plot(minutes, [report.windows[w][index] for w in windows], "o-", label=name)
    below.set(xlabel="minutes", ylabel="latency of a call, ms", ylim=(0, None))
    below.legend()
    figure.savefig(file, dpi=110)
