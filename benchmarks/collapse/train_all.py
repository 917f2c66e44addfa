"""Trains the runs of the suite side by side, each in a process on one core."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.collapse.one import TRUTH
from benchmarks.collapse.runs import RUNS


def main() -> None:
    """Trains what is not there yet, from its beginning; exits with 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="runs of benchmarks/collapse/runs.py; all")
    parser.add_argument("--out", type=Path, default=Path("runs/collapse"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--on-collapse", choices=["warn", "stop", "rollback"], default="warn", help="as in train"
    )
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in RUNS]
    if unknown:
        parser.error(f"no run {unknown[0]!r}; there are {', '.join(RUNS)}")

    def train(name: str) -> bool:
        folder = asked.out / name
        if (folder / TRUTH).exists():
            return True
        if folder.exists():
            shutil.rmtree(folder)  # what an interrupted one has left
        folder.mkdir(parents=True)
        command = [sys.executable, "-m", "benchmarks.collapse.one", name, str(folder)]
        command += [str(asked.data), f"monitor.on_collapse={asked.on_collapse}"]
        with (folder / "log.txt").open("w") as log:
            done = subprocess.run(
                command,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                check=False,
            )
        print(f"{name}: {'done' if done.returncode == 0 else f'failed, see {folder}/log.txt'}")
        return done.returncode == 0

    with ThreadPoolExecutor(asked.jobs) as pool:
        trained = list(pool.map(train, asked.names or RUNS))
    sys.exit(0 if all(trained) else 1)


if __name__ == "__main__":
    main()
