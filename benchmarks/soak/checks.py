"""What must hold after a soak; each check returns what is wrong, in words."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Final

from benchmarks.soak.client import HUNG_S
from benchmarks.soak.report import WINDOWS, Report
from benchmarks.soak.watching import Sample

MAX_GROWTH_MIB: Final = 24.0
MAX_MORE_THREADS: Final = 4
MAX_MORE_DESCRIPTORS: Final = 8
_NEVER: Final = {"INTERNAL", "UNKNOWN", "UNIMPLEMENTED", "DATA_LOSS"}


def not_lost(report: Report, counted: Counter[str]) -> list[str]:
    """Every answer that a client has seen is in the server's count, and nothing beyond it.

    A call that its client gave up may have been counted as anything, or never have arrived.
    """
    wrong = []
    for call in sorted({*report.answered, *counted}):
        method, code = call.split()
        seen, has = report.answered[call], counted[call]
        most = seen + report.given_up[method]
        if code == "CANCELLED" and not seen:
            continue  # the server's word for what its client gave up
        if not seen <= has <= most:
            wrong.append(f"{call}: clients saw {seen} to {most}, the server counted {has}")
        if code in _NEVER and has:
            wrong.append(f"{has} calls ended {call}")
    for method in sorted({call.split()[0] for call in {*report.answered, *counted}}):
        seen, has = (
            sum(n for call, n in counts.items() if call.split()[0] == method)
            for counts in (report.answered, counted)
        )
        if has > seen + report.given_up[method]:
            most = seen + report.given_up[method]
            wrong.append(f"{method}: {has} calls counted, but only {most} made")
    return wrong


def growth(values: Sequence[float]) -> float:
    """From the median of the second fifth to that of the last one; the first is warm-up."""
    fifth = max(1, len(values) // 5)
    return statistics.median(values[-fifth:]) - statistics.median(values[fifth : 2 * fifth])


def not_grown(samples: Sequence[Sample]) -> list[str]:
    """Memory and threads do not grow after the warm-up."""
    if len(samples) < 10:
        return [f"only {len(samples)} samples of the server's process"]
    wrong = []
    grown_mib = growth([sample.memory_mib for sample in samples])
    if grown_mib > MAX_GROWTH_MIB:
        wrong.append(f"memory grew by {grown_mib:.1f} MiB; at most {MAX_GROWTH_MIB:.0f} may be")
    more = growth([sample.threads for sample in samples])
    if more > MAX_MORE_THREADS:
        wrong.append(f"{more:.0f} more threads; at most {MAX_MORE_THREADS} may be")
    return wrong


def not_left(before: Sample, after: Sample, gauges: dict[str, float]) -> list[str]:
    """When all is quiet, descriptors are closed and nothing is on its way."""
    wrong = [f"{name} is {value:g} after the load" for name, value in gauges.items() if value]
    left = after.descriptors - before.descriptors
    if left > MAX_MORE_DESCRIPTORS:
        wrong.append(
            f"{left} more descriptors open after the load than before; at most "
            f"{MAX_MORE_DESCRIPTORS} may be"
        )
    return wrong


def answered_all_along(report: Report, seconds: float) -> list[str]:
    """The callers that verify had answers in every part of the time, if it is long enough."""
    if seconds / WINDOWS < HUNG_S:
        return []
    silent = [window + 1 for window in range(WINDOWS) if window not in report.windows]
    return [f"no answers in parts {silent} of {WINDOWS}"] if silent else []
