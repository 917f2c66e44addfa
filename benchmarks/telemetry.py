"""What counting and tracing cost: `python -m benchmarks.telemetry` (with the extra otel).

CPU time of one thread for what a request and a batch tell, least of several rounds. Spans are kept
in a full queue and sent nowhere, so that sending them is not in the figures of a request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from opentelemetry.sdk.trace import TracerProvider

from benchmarks.machine import describe
from server.batch import BatchTimes
from server.telemetry.calls import Call, observer
from server.telemetry.metrics import Metrics
from server.telemetry.tracing import Tracer
from zoo.catalog import BUNDLED, Catalog

_CALLS, _ROUNDS = 2000, 15
_PATH = "/ganagerie.v1.ImageGeneration/Generate"
_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


class _NotSent(Tracer):
    def __init__(self) -> None:
        super().__init__()
        self._provider.shutdown()
        self._tracer = TracerProvider(shutdown_on_exit=False).get_tracer("benchmark")


async def _us(call: Callable[[], None]) -> float:
    """CPU microseconds of one call, with what it leaves to the event loop."""
    times = []
    for _ in range(_ROUNDS):
        start_s = time.thread_time()
        for _ in range(_CALLS):
            call()
        await asyncio.sleep(0)
        times.append(time.thread_time() - start_s)
    return min(times) / _CALLS * 1e6


async def main() -> None:
    """Measures and prints a table for docs/log.md."""
    card = Catalog.open(BUNDLED).resolve("dcgan-emnist").card
    metrics, tracer = Metrics(), _NotSent()
    now_s = time.perf_counter()
    first, second = (BatchTimes(8, now_s + i, 0.001, 0.004, 0.001) for i in range(2))
    replied = metrics.method(_PATH).reply_bytes.inc

    def request(flags: str | None = None, batches: int = 1) -> None:
        metadata = [("user-agent", "benchmark"), ("traceparent", f"{_PARENT}-{flags}")]
        traced = tracer.start(_PATH, metadata) if flags else None
        with Call(metrics, _PATH, None, traced):
            observe = observer(card, 1)
            if observe is not None:
                for times in (first, second)[:batches]:
                    observe(1, times)
        replied(400)

    print(describe())
    print("| what | us |\n|---|---|")
    print(f"| metrics of a request | {await _us(request):.2f} |")
    print(f"| metrics of a batch | {await _us(lambda: metrics.batch(card, first)):.2f} |")
    print(f"| and a trace, not sampled | {await _us(lambda: request('00')):.1f} |")
    print(f"| and a trace, one batch | {await _us(lambda: request('01')):.1f} |")
    print(f"| and a trace, two batches | {await _us(lambda: request('01', 2)):.1f} |")


if __name__ == "__main__":
    asyncio.run(main())
