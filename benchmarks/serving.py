"""The server against plain onnxruntime, and against a naive server: `python -m benchmarks.serving`.

The ceiling is plain onnxruntime on the graph without rewrites, with a single-threaded caller on
every core, at its best batch size: no latents, no classes to look up, no encoding, no network. The
load generator runs on the same cores as the server, in a closed loop. Everything is measured in
turns, and shares of the ceiling are taken within a round, so that a noisy machine disturbs all
alike; what is printed are medians over the rounds. With GANAGERIE_DEVICE=cuda the ceiling is the
GPU's, and measured once a model: nobody else computes there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.ceiling import DEVICE
from benchmarks.machine import cpu_s, describe, resident_mib
from benchmarks.subjects import NAMES, subject
from tests.serving import server_process

_CEILING_BATCHES = (1, 4, 16, 64) if DEVICE == "cpu" else (64, 256, 1024)
_CALLS = 4  # at least, of each caller in a measurement


class Server(NamedTuple):
    """Where a server listens, and its process."""

    target: str
    pid: int


class Measured(NamedTuple):
    """One cell, one round."""

    images_per_s: float
    of_ceiling: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # an image


def tool(module: str, *arguments: object) -> Any:
    """What another module of this package prints as JSON."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextmanager
def naive_process(onnx: Path) -> Iterator[Server]:
    """The naive server, on a free port."""
    command = [sys.executable, "-m", "benchmarks.naive_server", str(onnx)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(process.stdout.readline().strip(), process.pid)
        finally:
            process.kill()


@contextmanager
def our_process(zoo: Path, *arguments: str) -> Iterator[Server]:
    """`ganagerie serve`, on a free port."""
    with server_process(zoo, *arguments) as running:
        assert running.process is not None
        yield Server(running.grpc, running.process.pid)


def load(server: Server, model: str, *arguments: object, by: str = "load") -> Any:
    """What a load generator found, in whose calls nothing may have failed."""
    found = tool(by, server.target, model, *arguments)
    assert not found["errors"], f"{found['errors']} calls failed"
    return found


def measure(
    server: Server, model: str, callers: int, images: int, seconds: float, by: str = "load"
) -> Any:
    """A closed loop; images per second, latency, and CPU time of the server."""
    before_s = cpu_s(server.pid)
    cell = ("--callers", callers, "--images", images, "--seconds", seconds)
    found = load(server, model, *cell, by=by)
    return found | {"cpu_us": (cpu_s(server.pid) - before_s) * 1e6 / found["received"]}


def ceiling(onnx: Path, seconds: float) -> float:
    """Images per second of plain onnxruntime at its best batch size."""
    return max(float(tool("ceiling", onnx, seconds, batch)) for batch in _CEILING_BATCHES)


def compare(name: str, options: argparse.Namespace) -> None:
    """Prints a table for one model."""
    cells = [(callers, images) for images in options.images for callers in options.callers]
    found: dict[tuple[str, tuple[int, int]], list[Measured]] = defaultdict(list)
    ceilings = []
    with subject(name) as it, our_process(it.zoo) as ours, naive_process(it.plain) as naive:
        servers = {"naive": naive, "ours": ours}
        fastest = ceiling(it.plain, options.seconds / 4)
        took_s = {cell: _CALLS * cell[0] * cell[1] / fastest for cell in cells}  # about
        cells = [cell for cell in cells if took_s[cell] <= options.longest]
        for _ in range(options.rounds):
            for cell in cells:
                if DEVICE == "cpu":
                    fastest = ceiling(it.plain, options.seconds / 4)
                ceilings.append(fastest)
                for who, server in servers.items():
                    seconds = max(options.seconds, took_s[cell])
                    one = measure(server, name, *cell, seconds, options.by)
                    numbers = [one[key] for key in ("p50_ms", "p99_ms", "cpu_us")]
                    share = one["images_per_s"] / fastest
                    found[who, cell].append(Measured(one["images_per_s"], share, *numbers))
        now_mib, peak_mib = resident_mib(ours.pid)
    print(
        f"\n{name}: ceiling {statistics.median(ceilings):.0f} images/s; "
        f"the server took {now_mib:.0f} MiB at the end, {peak_mib:.0f} at its peak\n\n"
        "| callers x images | naive | ours | images/s | p50 ms | p99 ms | CPU us an image |\n"
        "|---|---|---|---|---|---|---|"
    )
    for cell in cells:
        naive_share = statistics.median(m.of_ceiling for m in found["naive", cell])
        our = [statistics.median(column) for column in zip(*found["ours", cell], strict=True)]
        mine = Measured(*our)
        print(
            f"| {cell[0]} x {cell[1]} | {naive_share:.2f} | {mine.of_ceiling:.2f} "
            f"| {mine.images_per_s:.0f} | {mine.p50_ms:.1f} | {mine.p99_ms:.1f} "
            f"| {mine.cpu_us:.0f} |",
            flush=True,
        )


def main() -> None:
    """Measures and prints tables for docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--callers", nargs="+", type=int, default=[1, 8, 32, 128])
    parser.add_argument("--images", nargs="+", type=int, default=[1, 16], help="a call")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument(
        "--longest", type=float, default=20.0, help="seconds; cells that need more are left out"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--by", choices=["load", "h2load"], default="load", help="the load generator's module"
    )
    options = parser.parse_args()
    print(f"{describe()}\nShares are of the ceiling, medians of {options.rounds} rounds.")
    for name in options.models:
        compare(name, options)


if __name__ == "__main__":
    main()
