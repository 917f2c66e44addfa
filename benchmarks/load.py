"""A load generator, in a process of its own; prints a JSON object.

Closed loop: `python -m benchmarks.load TARGET MODEL --callers 32 --images 16` keeps so many calls
in flight. Open loop: `--rate 200` starts so many calls a second, at the times of a Poisson process,
however many are in flight; a call's latency counts from the time at which it was due.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from protos.v1 import ganagerie_pb2 as pb

_WARM_UP_S = 1.0
_LATEST_S = 10.0  # that an open loop waits for its last answers


class Load:
    """Calls, and what became of them."""

    def __init__(self, channel: grpc.aio.Channel, options: argparse.Namespace) -> None:
        self.start_s = time.perf_counter() + _WARM_UP_S
        self.end_s = self.start_s + options.seconds
        self.latencies_s: list[float] = []  # of calls that were due after the warm-up
        self.completed = 0  # calls that ended between the warm-up and the end
        self.received = 0  # images, those of the warm-up and after the end as well
        self.errors = 0
        self.answer = b""
        self._options = options
        self._seeds = itertools.count(0, options.images)
        # Answers stay bytes: what the generator of load does with them is not the server's cost.
        self._generate: Callable[..., Any] = channel.unary_unary(
            "/ganagerie.v1.ImageGeneration/Generate",
            pb.GenerateRequest.SerializeToString,
            None,
        )

    async def call(self, due_s: float) -> None:
        """One call."""
        options = self._options
        request = pb.GenerateRequest(
            model=options.model, count=options.images, seed=next(self._seeds)
        )
        try:
            self.answer = await self._generate(request)
        except grpc.RpcError:
            self.errors += 1
            return
        now_s = time.perf_counter()
        self.received += options.images
        self.completed += self.start_s <= now_s <= self.end_s
        if due_s >= self.start_s:
            self.latencies_s.append(now_s - due_s)

    async def closed(self) -> None:
        """So many callers, each with one call after the other."""

        async def caller() -> None:
            while (sent_s := time.perf_counter()) < self.end_s:
                await self.call(sent_s)

        await asyncio.gather(*(caller() for _ in range(self._options.callers)))

    async def open(self) -> None:
        """Calls at random times."""
        gaps = np.random.default_rng(0)
        calls = []
        due_s = time.perf_counter()
        while due_s < self.end_s:
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            calls.append(asyncio.create_task(self.call(due_s)))
            due_s += gaps.exponential(1 / self._options.rate)
        _, late = await asyncio.wait(calls, timeout=_LATEST_S)
        self.errors += len(late)
        for call in late:
            call.cancel()


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Images per second, quantiles of latency in milliseconds, all images, and failed calls."""
    async with grpc.aio.insecure_channel(options.target) as channel:
        load = Load(channel, options)
        await (load.open() if options.rate else load.closed())
    received = pb.GenerateResponse.FromString(load.answer).images
    assert len(received) == options.images
    assert received[0].data.startswith(b"\x89PNG")
    return {
        "images_per_s": load.completed * options.images / options.seconds,
        "calls": load.completed,
        "received": load.received,
        "errors": load.errors,
    } | quantiles(np.multiply(load.latencies_s, 1e3))


def quantiles(latencies_ms: NDArray[np.float64]) -> dict[str, float]:
    """What is printed of latencies."""
    found = np.quantile(latencies_ms, (0.5, 0.9, 0.99))
    return dict(zip(("p50_ms", "p90_ms", "p99_ms"), map(float, found.round(2)), strict=True))


def closed_loop(description: str | None) -> argparse.ArgumentParser:
    """A command line for a cell of the benchmark."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("target", metavar="HOST:PORT")
    parser.add_argument("model")
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--images", type=int, default=1, help="a call")
    parser.add_argument("--seconds", type=float, default=3.0, help="after a warm-up")
    return parser


def main() -> None:
    """Reads the command line, loads, prints."""
    parser = closed_loop(__doc__)
    parser.add_argument("--rate", type=float, default=0.0, help="calls a second, in an open loop")
    gc.disable()  # its pauses would count as the server's
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
