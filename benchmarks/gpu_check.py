"""Everything that wants a GPU, in one command: `make gpu-check`.

Runs `ganagerie doctor`, the tests that need a GPU, and the benchmarks of the CUDA provider's
options, of serving, training and the monitor on one device, and writes what they say as a section
for docs/benchmarks.md, with the card's name and all versions. Ends with the first of them that
fails, and its exit code.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

_MODULE = [sys.executable, "-m"]


def steps(device: str, quick: bool) -> dict[str, list[str]]:
    """What is run, by its title."""
    serving = ["--rounds", "1", "--seconds", "1"] if quick else ["--rounds", "3", "--seconds", "4"]
    if quick:
        serving += ["--models", "dcgan-emnist"]
    training = ["--device", device]
    training += ["--rounds", "1", "--recipes", "dcgan-emnist"] if quick else ["--compile"]
    monitor = ["--device", device, *(["--rounds", "3", "dcgan-emnist"] if quick else [])]
    on_gpus = {
        "Tests": ["pytest", "-q", "tests/gpu"],
        "CUDA": ["benchmarks.cuda", *(["--models", "dcgan-emnist"] if quick else [])],
    }
    return {
        "Doctor": ["ganagerie.cli", "doctor", "--device", device],
        **(on_gpus if device == "cuda" else {}),
        "Serving": ["benchmarks.serving", *serving],
        "Latency": ["benchmarks.latency", *serving],
        "Training": ["benchmarks.training_step", *training],
        "Monitor": ["benchmarks.monitor", *monitor],
    }


def run(device: str, module: list[str]) -> str:
    """What a step prints.

    Raises:
        SystemExit: it fails; with its exit code.
    """
    settings = {**os.environ, "GANAGERIE_DEVICE": device}
    done = subprocess.run(
        [*_MODULE, *module], env=settings, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        print(f"{done.stdout}failed: {shlex.join(module)}", file=sys.stderr)
        raise SystemExit(done.returncode)
    return done.stdout


def title(report: dict[str, Any], device: str) -> str:
    """The heading: which card, or which processor."""
    here = report["machine"]
    name = here["gpus"][0]["name"] if device == "cuda" and here["gpus"] else here["processor"]
    return f"## {name} ({datetime.date.today()})"


def section(report: dict[str, Any], told: dict[str, str], device: str, quick: bool) -> str:
    """The record, as Markdown."""
    flags = f"--device {device}{' --quick' if quick else ''}"
    parts = [title(report, device), f"`make gpu-check ARGS='{flags}'`"]
    for name, text in told.items():
        lines = text.strip().splitlines()
        table = [line for line in lines if line.startswith("|")]
        rest = "\n".join(line.rstrip() for line in lines if not line.startswith("|"))
        parts += [f"### {name}", f"```\n{rest}\n```"] + (["\n".join(table)] if table else [])
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Runs the steps and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="a minute; to see that it works")
    parser.add_argument("--dry-run", action="store_true", help="print the commands, and stop")
    parser.add_argument("--out", type=Path, default=Path("gpu-check.md"))
    options = parser.parse_args()
    todo = steps(options.device, options.quick)
    if options.dry_run:
        for module in todo.values():
            print(f"GANAGERIE_DEVICE={options.device} python -m {shlex.join(module)}")
        return
    told = {}
    for name, module in todo.items():
        print(f"{name}: {shlex.join(module)}", file=sys.stderr, flush=True)
        told[name] = run(options.device, module)
    report = json.loads(run(options.device, [*todo["Doctor"], "--json"]))
    text = section(report, told, options.device, options.quick)
    options.out.write_text(text, encoding="utf-8")
    print(f"{options.out}: a section for docs/benchmarks.md")


if __name__ == "__main__":
    main()
