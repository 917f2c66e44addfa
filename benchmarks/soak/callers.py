"""Clients that mean well: some verify every answer, others change their minds or read slowly."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import grpc
from PIL import Image

from benchmarks.soak.client import HUNG_S, METHODS, Client, Spec, run
from benchmarks.soak.reference import MODELS, SEEDS, digest, read_reference
from benchmarks.soak.report import Report

_SIDE: Final = 28  # of the bundled models' images, grey
_COUNTS: Final = (1, 1, 1, 2, 4, 16, 32)
_PATIENT: Final = frozenset({"OK", "RESOURCE_EXHAUSTED"})
_GIVING_UP: Final = _PATIENT | {"CANCELLED", "DEADLINE_EXCEEDED"}
_BUSY_S: Final = 0.5  # what a refused caller waits


@asynccontextmanager
async def _ended(
    client: Client, method: str, call: Any, allowed: frozenset[str], what: str
) -> AsyncIterator[None]:
    try:
        yield
    except (grpc.RpcError, asyncio.CancelledError):  # grpc.aio's word for a call we cancelled
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
    if await client.end(method, call, allowed, what) == "RESOURCE_EXHAUSTED":
        await asyncio.sleep(_BUSY_S)


def warm_up(spec: Spec) -> Report:
    """Full batches of every model and every format: from here on memory has no reason to grow."""

    async def loop(client: Client, model: str, kind: str) -> None:
        for method, count in (("StreamGenerate", 400), ("Generate", 100), ("ModelInfer", 100)):
            call = client.start(method, model, count, 0, kind, HUNG_S)
            async with _ended(client, method, call, frozenset({"OK"}), "warm-up"):
                await client.images_of(method, call, count)

    kinds = [(model, kind) for model in MODELS for kind in ("png", "raw", "jpeg", "webp")]
    return run(spec, [partial(loop, model=model, kind=kind) for model, kind in kinds])


def steady(spec: Spec) -> Report:
    """Verifies the bytes, or the pictures, of every answer, and times it."""
    reference = read_reference(spec.reference)

    def verify(client: Client, model: str, kind: str, first: int, images: list[bytes]) -> None:
        for seed, data in enumerate(images, first):
            if seed < SEEDS and kind in reference[model]:
                if digest(data) != reference[model][kind][seed]:
                    client.report.complain(f"seed {seed} of {model} as {kind}: other bytes")
            elif kind == "raw":
                if len(data) != _SIDE**2:
                    client.report.complain(f"seed {seed} of {model}: {len(data)} bytes of pixels")
            elif Image.open(io.BytesIO(data), formats=[kind]).convert("L").size != (_SIDE, _SIDE):
                client.report.complain(f"seed {seed} of {model} as {kind}: another size")

    async def loop(client: Client, method: str) -> None:
        choose = client.random
        while client.goes_on:
            model, count = choose.choice(MODELS), choose.choice(_COUNTS)
            known = choose.random() < 0.7
            kind = choose.choice(("png", "raw") if known else ("png", "raw", "jpeg", "webp"))
            seed = choose.randrange(SEEDS - count) if known else choose.randrange(SEEDS, 2**63)
            sent_s = time.monotonic()
            call = client.start(method, model, count, seed, kind, HUNG_S)
            async with _ended(client, method, call, _PATIENT, "steady"):
                images = await client.images_of(method, call, count)
                client.latencies.add(sent_s)
                if len(images) != count:
                    client.report.complain(f"{len(images)} images of {count} ({method})")
                verify(client, model, kind, seed, images)
            await asyncio.sleep(choose.expovariate(50))

    return run(spec, [partial(loop, method=method) for method in METHODS * 2])


def impatient(spec: Spec) -> Report:
    """Sets deadlines that are mostly too short."""

    async def loop(client: Client) -> None:
        choose = client.random
        while client.goes_on:
            method, timeout_s = choose.choice(METHODS), choose.choice((0.0005, 0.002, 0.01, 0.05))
            count = choose.choice((1, 16, 200))
            call = client.start(method, choose.choice(MODELS), count, 0, "png", timeout_s)
            async with _ended(client, method, call, _GIVING_UP, "impatient"):
                if len(await client.images_of(method, call, count)) != count:
                    client.report.complain(f"impatient: not {count} images ({method})")
            await asyncio.sleep(choose.expovariate(20))

    return run(spec, [loop] * 3)


def fickle(spec: Spec) -> Report:
    """Cancels at any time."""

    async def loop(client: Client) -> None:
        choose = client.random
        while client.goes_on:
            method, count = choose.choice(METHODS), choose.choice((1, 16, 200))
            call = client.start(method, choose.choice(MODELS), count, 0, "png", HUNG_S)
            timer = asyncio.get_running_loop().call_later(
                choose.choice((0.0, 0.003, 0.03, 0.1)) * choose.random(), call.cancel
            )
            async with _ended(client, method, call, _GIVING_UP, "fickle"):
                if len(await client.images_of(method, call, count)) != count:
                    client.report.complain(f"fickle: not {count} images ({method})")
            timer.cancel()
            await asyncio.sleep(choose.expovariate(20))

    return run(spec, [loop] * 3)


def slow(spec: Spec) -> Report:
    """Reads large streams one image at a time, now fast, now hardly, and leaves some of them."""

    async def loop(client: Client) -> None:
        choose = client.random
        while client.goes_on:
            count, pause_s = 1000, choose.choice((0.0, 0.002, 0.05))
            leaves_s = time.monotonic() + 3
            call = client.start("StreamGenerate", choose.choice(MODELS), count, 0, "raw", HUNG_S)
            async with _ended(client, "StreamGenerate", call, _GIVING_UP, "slow"):
                seen = set()
                async for image in call:
                    seen.add(image.index)
                    await asyncio.sleep(pause_s)
                    if time.monotonic() > leaves_s or not client.goes_on:
                        call.cancel()
                        break
                else:
                    if seen != set(range(count)):
                        client.report.complain(f"slow: {len(seen)} images of {count}")
            await asyncio.sleep(choose.expovariate(2))

    return run(spec, [loop] * 2)


def doomed(spec: Spec) -> Report:
    """Streams until it is killed; a line on stdout for each call, before it begins."""

    async def loop(client: Client) -> None:
        while client.goes_on:
            print("StreamGenerate", flush=True)
            call = client.start("StreamGenerate", MODELS[0], 400, 0, "png", HUNG_S)
            try:
                async for _ in call:
                    await asyncio.sleep(0.001)
            except grpc.RpcError:
                await asyncio.sleep(_BUSY_S)

    return run(spec, [loop] * 2)
