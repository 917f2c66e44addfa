"""`ganagerie sample` against plain onnxruntime: images per second, PNG files included.

`python -m benchmarks.sample` measures both in turns, several rounds, and reports ratios within a
round. Plain is the same model file in onnxruntime with every core busy, in the batches that suit it
best, without latents, encoding or files. Of `sample` counts what it says itself: from the first
batch to the last file, without its start. CPU time an image, starts included, is told besides: on
a machine with other work it is what can be compared.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile

from benchmarks.machine import describe
from zoo.catalog import BUNDLED, Catalog

_BATCHES = (16, 64, 128)


def _children_s() -> float:
    """CPU time of all processes that have ended, seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _plain(onnx: object, seconds: float, batch: int) -> float:
    command = [sys.executable, "-m", "benchmarks.ceiling", str(onnx), str(seconds), str(batch)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def _sample(model: str, count: int, output: str, batch: int) -> float:
    command = [sys.executable, "-m", "ganagerie.cli", "sample", model, "-n", str(count)]
    command += ["-o", output, "--batch", str(batch)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    found = re.search(r"([\d,]+) images/s\)", told)
    assert found is not None, told
    return float(found[1].replace(",", ""))


def main() -> None:
    """Measures and prints a table for docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="dcgan-emnist")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=64, help="of sample")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement of plain")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    entry = Catalog.open(BUNDLED).resolve(options.model)
    onnx = entry.folder / entry.card.artifact.file
    print(f"{describe()}\n{entry.card.reference}, {options.images} images, {options.batch} a batch")
    print("| round | plain, images/s (batch) | folder | zip | shards |")
    print("|---|---|---|---|---|")
    ratios: dict[str, list[float]] = {"set/": [], "set.zip": [], "set.tar": []}
    cpu_us: dict[str, list[float]] = {name: [] for name in ("plain", *ratios)}
    for round_ in range(1, options.rounds + 1):
        plain = {batch: _plain(onnx, options.seconds, batch) for batch in _BATCHES}
        best = max(plain, key=lambda batch: plain[batch])
        before_s = _children_s()
        made = _plain(onnx, options.seconds, best) * options.seconds
        cpu_us["plain"].append((_children_s() - before_s) * 1e6 / made)
        cells = []
        for output, found in ratios.items():
            before_s = _children_s()
            with tempfile.TemporaryDirectory() as folder:
                speed = _sample(options.model, options.images, f"{folder}/{output}", options.batch)
            found.append(speed / plain[best])
            cpu_us[output].append((_children_s() - before_s) * 1e6 / options.images)
            cells.append(f"{speed:.0f} ({found[-1]:.2f})")
        print(f"| {round_} | {plain[best]:.0f} ({best}) | {' | '.join(cells)} |", flush=True)
    medians = ", ".join(f"{name} {statistics.median(r):.2f}" for name, r in ratios.items())
    print(f"images/s of plain, medians: {medians}")
    used = ", ".join(f"{name} {statistics.median(us):.0f}" for name, us in cpu_us.items())
    print(f"us of CPU time an image, medians: {used}")


if __name__ == "__main__":
    main()
