"""A closed-loop load generator, in a process of its own.

`python -m benchmarks.load TARGET MODEL CALLERS IMAGES SECONDS` keeps CALLERS calls of IMAGES images
each in flight, and prints a JSON object: images per second and quantiles of latency.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import grpc
import grpc.aio
import numpy as np

from protos.v1 import ganagerie_pb2 as pb

_WARM_UP_S = 1.0


async def run(target: str, model: str, callers: int, images: int, seconds: float) -> dict[str, Any]:
    """Counts whole answers between the warm-up and the end."""
    async with grpc.aio.insecure_channel(target) as channel:
        # Answers stay bytes: what the generator of load does with them is not the server's cost.
        generate = channel.unary_unary(
            "/ganagerie.v1.ImageGeneration/Generate",
            pb.GenerateRequest.SerializeToString,
            None,
        )
        start_s = time.perf_counter() + _WARM_UP_S
        latencies_s: list[float] = []
        answer = b""

        async def call(caller: int) -> None:
            nonlocal answer
            seed = caller << 32
            while (sent_s := time.perf_counter()) < start_s + seconds:
                request = pb.GenerateRequest(model=model, count=images, seed=seed)
                answer = await generate(request)
                seed += images
                if sent_s >= start_s:
                    latencies_s.append(time.perf_counter() - sent_s)

        await asyncio.gather(*map(call, range(callers)))
        took_s = time.perf_counter() - start_s
    received = pb.GenerateResponse.FromString(answer).images
    assert len(received) == images
    assert received[0].data.startswith(b"\x89PNG")
    p50, p99 = np.quantile(latencies_s, (0.5, 0.99)) * 1e3
    return {
        "images_per_s": len(latencies_s) * images / took_s,
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
    }


if __name__ == "__main__":
    target, model, *numbers = sys.argv[1:]
    callers, images, seconds = map(int, numbers)
    print(json.dumps(asyncio.run(run(target, model, callers, images, seconds))))
