"""A batcher whose only runner is held up, and a generator that waits for leave to run."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec

import numpy as np
import pytest
from numpy.typing import NDArray

from server.batch import BatchTimes
from server.batching import Batcher
from server.encoding import Encoding, ImageFormat
from server.errors import ServingError
from server.requests import Plan, Priority
from tests.server.lanes import Lanes
from zoo.card import Card
from zoo.generator import Generator, Mixture
from zoo.latents import Truncation
from zoo.runtime import CPU

TIMEOUT_S = 10.0
P = ParamSpec("P")
POISON = 10**6  # no batch with a seed from here on succeeds


def in_event_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 2 * TIMEOUT_S))

    return run


class Fake(Generator):
    """Makes images of which each pixel is the seed; each batch waits for leave to run."""

    def __init__(self, card: Card, lanes: int = 1) -> None:
        self.card = card
        self.execution = Lanes(lanes, provider=CPU)
        self.batches: list[list[int]] = []
        self.used_lanes: list[int] = []
        self._permits = threading.Semaphore(0)

    def permit(self, batches: int = 1000) -> None:
        self._permits.release(batches)

    def generate(
        self,
        seeds: Sequence[int],
        truncations: Sequence[Truncation | None],
        mixtures: Sequence[Mixture] | None = None,
        lane: int = 0,
    ) -> NDArray[np.uint8]:
        self.batches.append(list(seeds))
        self.used_lanes.append(lane)
        assert self._permits.acquire(timeout=TIMEOUT_S)
        if max(seeds) >= POISON:
            raise ValueError("poison")
        return np.stack([np.full((2, 2, 1), seed % 256, np.uint8) for seed in seeds])


def a_batcher(generator: Generator, **settings: Any) -> Batcher:
    limits: dict[str, Any] = {"max_batch": 64, "max_queue_images": 1000, "max_queue_bytes": 10**9}
    limits |= {"max_batch_s": 1.0, "image_s": 1e-6}
    return Batcher(generator, **{**limits, **settings})


def request(count: int, seed: int = 0, priority: Priority = Priority.NORMAL) -> Plan:
    encoding = Encoding(ImageFormat.RAW)
    return Plan(range(seed, seed + count), (None,), (), 0, encoding, priority=priority)


async def collect(batcher: Batcher, plan: Plan) -> list[int]:
    """The seeds of a plan's images, in order of index; each image has its own pixels."""
    images = {image.index: image async for some in batcher.images(plan) for image in some}
    assert all(image.data == bytes([image.seed % 256] * 4) for image in images.values())
    return [images[index].seed for index in range(plan.count)]


async def refusal(batcher: Batcher, count: int = 1) -> pytest.ExceptionInfo[ServingError]:
    with pytest.raises(ServingError) as caught:
        await collect(batcher, request(count))
    return caught


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.001)


class Busy:
    """A batcher with one runner, which is held up by a batch of one image."""

    def __init__(
        self, fake: Fake, max_batch: int = 64, max_queue_images: int = 1000, **more: Any
    ) -> None:
        self.fake = fake
        self.times: list[BatchTimes] = []
        limits = {"max_batch": max_batch, "max_queue_images": max_queue_images, **more}
        self.batcher = a_batcher(fake, observe=self.times.append, **limits)

    def submit(
        self, count: int, seed: int = 0, priority: Priority = Priority.NORMAL
    ) -> asyncio.Task[list[int]]:
        return asyncio.create_task(collect(self.batcher, request(count, seed, priority)))

    async def __aenter__(self) -> Busy:
        self.first = self.submit(1)
        await until(lambda: len(self.fake.batches) == 1)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.fake.permit()
        await asyncio.to_thread(self.batcher.close)
