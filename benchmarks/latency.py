"""Latency under load: `python -m benchmarks.latency`.

First an open loop at 70% of what a closed one reaches: Poisson arrivals, one image a call. Then
small callers beside a huge one: eight callers of one image each, alone, and beside one that asks
for 4,096 images again and again.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.machine import describe
from benchmarks.serving import Server, load, measure, our_process
from benchmarks.subjects import NAMES, subject

_LOAD = 0.7  # of the calls a second that 32 callers get
_SMALL = 8  # callers
_HUGE = 4096  # images a call


@contextmanager
def huge_caller(server: Server, model: str) -> Iterator[subprocess.Popen[bytes]]:
    """Streams `_HUGE` images, again and again, from a process of its own that must not end."""
    lines = (
        "import sys; from ganagerie.client import Client",
        "client = Client(sys.argv[1], timeout_s=600)",
        f"while True: sum(1 for _ in client.stream(sys.argv[2], count={_HUGE}))",
    )
    process = subprocess.Popen([sys.executable, "-c", "\n".join(lines), server.target, model])
    try:
        yield process
        assert process.poll() is None, f"the huge caller ended with {process.returncode}"
    finally:
        process.kill()
        process.wait()


def medians(runs: list[Any], *keys: str) -> list[float]:
    """Of each key over the runs."""
    return [statistics.median(run[key] for run in runs) for key in keys]


def main() -> None:
    """Measures and prints a table for docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    keys = ("images_per_s", "p50_ms", "p99_ms")  # one image a call
    print(
        f"{describe()}\n\n| model | load | calls/s | p50 ms | p99 ms | p99 / p50, or of alone |\n"
        "|---|---|---|---|---|---|"
    )
    for name in options.models:
        with subject(name) as it, our_process(it.zoo) as server:
            open_runs, alone, beside = [], [], []
            for _ in range(options.rounds):
                full = measure(server, name, 32, 1, options.seconds)
                rate = ["--rate", _LOAD * full["images_per_s"], "--seconds", options.seconds]
                open_runs.append(load(server, name, *rate))
                alone.append(measure(server, name, _SMALL, 1, options.seconds))
                with huge_caller(server, name):
                    beside.append(measure(server, name, _SMALL, 1, options.seconds))
        calls, p50_ms, p99_ms = medians(open_runs, *keys)
        print(
            f"| {name} | 70%, Poisson | {calls:.0f} | {p50_ms:.1f} "
            f"| {p99_ms:.1f} | {p99_ms / p50_ms:.1f} |"
        )
        alone_ms = 0.0
        for label, runs in ((f"{_SMALL} callers", alone), ("the same beside a huge one", beside)):
            calls, p50_ms, p99_ms = medians(runs, *keys)
            alone_ms = alone_ms or p99_ms
            print(
                f"| {name} | {label} | {calls:.0f} | {p50_ms:.1f} | {p99_ms:.1f} "
                f"| {p99_ms / alone_ms:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
