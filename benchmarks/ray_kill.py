"""Callers of a Ray Serve application on this machine, while its replicas are killed.

    serve run deploy/ray/serve.yaml
    python -m benchmarks.ray_kill

docs/ray.md has what was seen. Every answer is compared with the images as this process makes them.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from statistics import median

from ganagerie import Client, GeneratedImage
from ganagerie.local import generate
from ganagerie.messages import Options
from zoo.catalog import BUNDLED, Catalog
from zoo.errors import GanagerieError, one_line

OPTIONS: Options = {"count": 64, "seed": 0}
TITLE = "^ray::ServeReplica:ganagerie:"


def main() -> None:
    """Calls, kills, and says what became of the calls."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--target", default="127.0.0.1:50051")
    parser.add_argument("--model", default="dcgan-emnist")
    parser.add_argument("--deployment", default="Replica", help="whose replicas: Replica, Ingress")
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--kills", type=int, default=4, help="kill -9, one every --every seconds")
    parser.add_argument("--every", type=float, default=6.0)
    given = parser.parse_args()
    expected = list(generate(Catalog.open(BUNDLED), given.model, OPTIONS))
    outcomes: Counter[str] = Counter()
    took_s: list[float] = []
    stop = threading.Event()

    def call(streams: bool) -> None:
        with Client(given.target, timeout_s=60) as client:
            while not stop.is_set():
                started_s = time.perf_counter()
                try:
                    images = _images(client, given.model, streams)
                    outcomes["as expected" if images == expected else "other images"] += 1
                except GanagerieError as error:
                    outcomes[f"{type(error).__name__}: {one_line(error)}"] += 1
                took_s.append(time.perf_counter() - started_s)

    callers = [threading.Thread(target=call, args=[i % 2 == 1]) for i in range(given.callers)]
    for caller in callers:
        caller.start()
    for _ in range(given.kills):
        time.sleep(given.every)
        pids = subprocess.run(
            ["/usr/bin/pgrep", "-f", TITLE + given.deployment],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        if pids:
            os.kill(int(pids[0]), signal.SIGKILL)
        print(f"{sum(outcomes.values())} calls; killed {pids[:1]} of {pids}", flush=True)
    time.sleep(given.every)
    stop.set()
    for caller in callers:
        caller.join()
    print(f"{sum(outcomes.values())} calls of {OPTIONS['count']} images, half of them streams")
    print(f"median {median(took_s):.3f} s, slowest {max(took_s):.3f} s")
    for outcome, times in outcomes.most_common():
        print(f"{times:6} {outcome}")


def _images(client: Client, model: str, streams: bool) -> list[GeneratedImage]:
    if streams:
        return sorted(client.stream(model, **OPTIONS), key=lambda image: image.index)
    return client.generate(model, **OPTIONS)


if __name__ == "__main__":
    main()
