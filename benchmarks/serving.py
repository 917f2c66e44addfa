"""The server against plain onnxruntime: images per second, PNG encoding included.

`python -m benchmarks.serving` measures both in turns, several rounds, and reports ratios within a
round: this way a noisy machine disturbs both alike. Plain is the same model file in onnxruntime
with every core busy, without latents, without encoding, without a network: in batches of one
call's images, as somebody would who serves each call by itself, and in the batches that suit it
best, which is the ceiling. The load generator runs on the same cores as the server.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

from benchmarks.machine import cpu_s, describe, resident_mib
from tests.serving import server_process
from zoo.catalog import BUNDLED, Catalog

_BATCHES = (64, 128)


def _json_of(module: str, *arguments: object) -> Any:
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measures and prints a table for docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="dcgan-emnist")
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--images", type=int, default=16, help="a call")
    parser.add_argument("--seconds", type=int, default=6, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    entry = Catalog.open(BUNDLED).resolve(options.model)
    onnx = entry.folder / entry.card.artifact.file
    print(
        f"{describe()}\n{entry.card.reference}, {options.callers} callers, {options.images} a call"
    )
    print(
        "| round | plain, a call's batch | ceiling (batch) | server | of plain | of the ceiling |"
    )
    print("|---|---|---|---|---|---|")
    batches = {options.images, *_BATCHES}
    ratios = []
    latencies = []
    with server_process() as server:
        assert server.process is not None
        pid = server.process.pid
        for round_ in range(1, options.rounds + 1):
            ceilings = {b: _json_of("ceiling", onnx, options.seconds / 2, b) for b in batches}
            batch = max(ceilings, key=lambda b: float(ceilings[b]))
            before_s = cpu_s(pid)
            load = _json_of(
                "load",
                server.grpc,
                options.model,
                options.callers,
                options.images,
                options.seconds,
            )
            cpu_us = (cpu_s(pid) - before_s) * 1e6 / (load["images_per_s"] * (options.seconds + 1))
            plain, ceiling, served = ceilings[options.images], ceilings[batch], load["images_per_s"]
            ratios.append((served / plain, served / ceiling))
            latencies.append((load["p50_ms"], load["p99_ms"]))
            print(
                f"| {round_} | {plain:.0f} | {ceiling:.0f} ({batch}) | {served:.0f} "
                f"| {ratios[-1][0]:.2f} | {ratios[-1][1]:.2f} |",
                flush=True,
            )
        now_mib, peak_mib = resident_mib(pid)
    of_plain, of_ceiling = (statistics.median(column) for column in zip(*ratios, strict=True))
    p50_ms, p99_ms = (statistics.median(column) for column in zip(*latencies, strict=True))
    print(
        f"images/s, medians: {of_plain:.2f} of plain, {of_ceiling:.2f} of the ceiling; "
        f"a call takes {p50_ms:.0f} ms (p50), {p99_ms:.0f} ms (p99)\n"
        f"server: about {cpu_us:.0f} us of CPU time an image in the last round; "
        f"{now_mib:.0f} MiB, at its peak {peak_mib:.0f}"
    )


if __name__ == "__main__":
    main()
