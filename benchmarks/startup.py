"""How long until SERVING, and how much memory: `python -m benchmarks.startup`.

The time is from starting the process to the health service's SERVING, seen by a client, with the
bundled zoo; the memory is resident, after the start and after 1,024 images.
"""

from __future__ import annotations

import statistics
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.machine import describe, resident_mib
from ganagerie.client import Client
from tests.serving import server_process

_RUNS = 5


def main() -> None:
    """Measures and prints lines for docs/benchmarks.md."""
    print(describe())
    seconds, idle_mib, busy_mib = [], [], []
    for _ in range(_RUNS):
        start_s = time.perf_counter()
        with server_process() as server:
            assert server.process is not None
            with grpc.insecure_channel(server.grpc) as channel:
                health = health_pb2_grpc.HealthStub(channel)
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=5)
            seconds.append(time.perf_counter() - start_s)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            idle_mib.append(resident_mib(server.process.pid)[0])
            with Client(server.grpc) as client:
                client.generate(client.models()[0], count=1024)
            busy_mib.append(resident_mib(server.process.pid)[1])
    print(
        f"start to SERVING: median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s"
    )
    print(
        f"resident memory: {max(idle_mib):.0f} MiB; peak after 1,024 images {max(busy_mib):.0f} MiB"
    )


if __name__ == "__main__":
    main()
