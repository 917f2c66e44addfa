"""The client processes: started, killed where they are doomed, waited for."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.soak import callers
from benchmarks.soak.client import HUNG_S, Spec
from benchmarks.soak.hostile import hostile
from benchmarks.soak.report import Report
from benchmarks.soak.watching import watcher

CLIENTS: Final[dict[str, Callable[[Spec], Report]]] = {
    "warm_up": callers.warm_up,
    "steady": callers.steady,
    "impatient": callers.impatient,
    "fickle": callers.fickle,
    "slow": callers.slow,
    "doomed": callers.doomed,
    "hostile": hostile,
    "watcher": watcher,
}
_START_AND_END_S: Final = 30.0


class Clients:
    """One process of each kind, all at once; the doomed are killed and replaced, time and again."""

    def __init__(self, specs: dict[str, Spec], seconds: float) -> None:
        self._deadline_s = time.monotonic() + seconds + HUNG_S + _START_AND_END_S
        self._seconds = seconds
        self._doomed = Report()
        self._killer = threading.Thread(target=self._kill_again_and_again, args=(specs["doomed"],))
        self._killer.start()
        self._processes = {
            name: _start(name, spec)
            for name, spec in specs.items()
            if name not in {"warm_up", "doomed"}
        }

    def join(self) -> Report:
        """All reports together; a process that failed or hung is a mistake in them."""
        reports = [
            _report(name, process, self._deadline_s) for name, process in self._processes.items()
        ]
        self._killer.join()
        return Report.together([*reports, self._doomed])

    def _kill_again_and_again(self, spec: Spec) -> None:
        choose = random.Random(spec.seed)  # noqa: S311  no secret
        end_s = time.monotonic() + self._seconds
        while time.monotonic() < end_s:
            process = _start("doomed", spec)
            assert process.stdout is not None
            begun = process.stdout.readline()  # from here on it is in the middle of something
            time.sleep(choose.uniform(0.1, 2))
            process.kill()
            rest, _ = process.communicate()
            self._doomed.given_up["StreamGenerate"] += (begun + rest).count("\n")
            self._doomed.beside["killed in mid-stream"] += 1


def warmed_up(spec: Spec) -> Report:
    """The same before all others, alone."""
    return _report("warm_up", _start("warm_up", spec), time.monotonic() + HUNG_S)


def _report(name: str, process: subprocess.Popen[str], deadline_s: float) -> Report:
    failed = Report()
    try:
        output, errors = process.communicate(timeout=max(0.1, deadline_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        failed.complain(f"the {name} client hung")
        return failed
    if process.returncode:
        failed.complain(f"the {name} client ended with {process.returncode}: {errors[-800:]}")
        return failed
    return Report.from_json(output)


def _start(name: str, spec: Spec) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.soak.processes", name]
    return subprocess.Popen(
        [*command, json.dumps(asdict(spec), default=str)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ, GRPC_VERBOSITY="NONE"),
    )


def _client(name: str, spec: str) -> None:
    fields = json.loads(spec)
    fields["reference"] = Path(fields["reference"])
    print(CLIENTS[name](Spec(**fields)).to_json())


if __name__ == "__main__":
    _client(*sys.argv[1:])
