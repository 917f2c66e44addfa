"""Half an hour of everything at once: `python -m benchmarks.soak --minutes 30`.

A real server with the bundled zoo, API keys and a small queue, and client processes that call it
all the time: some verify every byte, others set tiny deadlines, cancel, read slowly, are killed in
the middle of a stream, or attack (docs/benchmarks.md lists them). Then it checks that no call was
lost, nothing hung, nothing leaked, the server still gives the same bytes, and SIGTERM drains it.
Prints a table; ends with code 1 and the reasons where a check fails.
"""

from __future__ import annotations

import argparse
import json
import re
import secrets
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Final

from benchmarks.machine import cpu_s, describe
from benchmarks.soak import checks, ending
from benchmarks.soak.client import Spec
from benchmarks.soak.processes import CLIENTS, Clients, warmed_up
from benchmarks.soak.reference import write_reference
from benchmarks.soak.report import Report
from benchmarks.soak.table import draw, summary, table
from benchmarks.soak.watching import Sample, Sampler, counted, live, sample
from tests.serving import Running, server_process

_QUEUE_IMAGES: Final = 2048  # --max-queue-images: now and then it is full
# gRPC's own word, now and then, for a client that vanished while something was sent to it.
_VANISHED: Final = "ExecuteBatchError raised in core by servicer method"
# Likewise for noise that happens to look like HTTP/2.
_NOISE: Final = re.compile(r"E\d{4} .* hpack_parser\.cc:\d+\] Error parsing '.*")
_QUIET_S: Final = 15.0  # how long counts may take to settle after the load
_SAMPLES: Final = 600  # of the server's process, over the whole time; 4 a second at most


def main() -> None:
    """Runs, prints, judges."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=30, help="of load (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument(
        "--picture", type=Path, help="PNG of memory and latency over time (matplotlib)"
    )
    parser.add_argument(
        "--server", default="ganagerie.cli", help="module to run as the server, to try the checks"
    )
    options = parser.parse_args()
    if not options.minutes > 0:
        parser.error(f"--minutes {options.minutes:g}: give more than 0")
    print(f"{describe()}\n{options.minutes:g} minutes, seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        wrong = soak(options, Path(folder))
    for words in wrong:
        print(f"FAILED: {words}", file=sys.stderr)
    if wrong:
        sys.exit(1)
    print("Nothing lost, hung or leaked; the same bytes after it; SIGTERM drained the server.")


def soak(options: argparse.Namespace, folder: Path) -> list[str]:
    """All of it; returns what is wrong."""
    names = {name: secrets.token_urlsafe(24) for name in CLIENTS}
    keys = folder / "keys"
    keys.write_text("".join(f"{name} {key}\n" for name, key in names.items()))
    keys.chmod(0o600)
    reference = folder / "reference.json"
    write_reference(reference)
    arguments = ["--api-keys", str(keys), "--max-queue-images", str(_QUEUE_IMAGES)]
    with server_process(None, *arguments, module=options.server) as server:
        log = Log(server)
        seconds = options.minutes * 60
        specs = {
            name: Spec(server.grpc, server.http, key, reference, seconds, options.seed + number)
            for number, (name, key) in enumerate(names.items())
        }
        report, samples, wrong = _load(server, specs, seconds)
        if server.process is None or server.process.poll() is not None:
            log.join()
            return [*report.wrong, "the server ended before its time", *log.errors]
        count = counted(server.http)
        print(table(seconds, report, samples))
        print(summary(report, count, samples))
        used_s = cpu_s(server.process.pid)
        print(f"The server used {used_s:.0f} s of CPU time, {used_s / seconds:.2f} of a core.")
        if options.picture:
            draw(options.picture, seconds, report, samples)
        wrong += report.wrong
        wrong += checks.not_lost(report, count)
        wrong += checks.answered_all_along(report, seconds)
        wrong += ending.the_same_bytes(specs["steady"])
        wrong += ending.drains(server, specs["steady"])
        server.process.kill()  # a server that stays would keep its log open
        log.join()
    return wrong + log.errors


def _load(
    server: Running, specs: dict[str, Spec], seconds: float
) -> tuple[Report, list[Sample], list[str]]:
    """The load, and the quiet after it."""
    assert server.process is not None
    pid = server.process.pid
    warmed = warmed_up(specs["warm_up"])
    before = sample(pid, 0)
    sampler = Sampler(pid, max(0.25, seconds / _SAMPLES))
    report = Report.together([warmed, Clients(specs, seconds).join()])
    samples = sampler.stop()
    until_s = time.monotonic() + _QUIET_S
    while server.process.poll() is None:
        left = checks.not_left(before, sample(pid, 0), live(server.http))
        if not left or time.monotonic() > until_s:
            return report, samples, checks.not_grown(samples) + left
        time.sleep(0.5)
    return report, samples, []


class Log:
    """Reads a server's log as it is written, lest the server waits; keeps the errors."""

    def __init__(self, server: Running) -> None:
        assert server.process is not None
        assert server.process.stderr is not None
        self.errors: list[str] = []
        self.events: Counter[str] = Counter()
        self._lines = server.process.stderr
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._lines:
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": line.strip(), "level": "not a line of JSON"}
            self.events[event["event"]] += 1
            of_grpc = event["event"].startswith(_VANISHED) or _NOISE.fullmatch(event["event"])
            harmless = event["level"] in {"info", "warning"} or of_grpc
            if not harmless and len(self.errors) < 20:
                self.errors.append(f"logged: {line.strip()[:500]}")

    def join(self) -> None:
        """Until the server has ended."""
        self._thread.join()


if __name__ == "__main__":
    main()
