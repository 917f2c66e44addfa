"""The batcher: who shares a batch, who waits for whom, and what ends early."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
import pytest
from numpy.typing import NDArray

from server.batching import Batcher, BatchTimes
from server.encoding import Encoding, ImageFormat
from server.errors import NotReady, QueueFull, ServingError
from server.requests import Plan
from tests.toys import write_toy
from zoo.card import Card
from zoo.generator import Generator, Mixture
from zoo.latents import Truncation

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

    def __init__(self, card: Card) -> None:
        self.card = card
        self.batches: list[list[int]] = []
        self._permits = threading.Semaphore(0)

    def permit(self, batches: int = 1000) -> None:
        self._permits.release(batches)

    def generate(
        self,
        seeds: Sequence[int],
        truncations: Sequence[Truncation | None],
        mixtures: Sequence[Mixture] | None = None,
    ) -> NDArray[np.uint8]:
        self.batches.append(list(seeds))
        assert self._permits.acquire(timeout=TIMEOUT_S)
        if max(seeds) >= POISON:
            raise ValueError("poison")
        return np.stack([np.full((2, 2, 1), seed % 256, np.uint8) for seed in seeds])


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(write_toy(tmp_path, "toy"))


def request(count: int, seed: int = 0) -> Plan:
    return Plan(range(seed, seed + count), (None,), (), 0, Encoding(ImageFormat.RAW))


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

    def __init__(self, fake: Fake, max_batch: int = 64, max_queue_images: int = 1000) -> None:
        self.fake = fake
        self.times: list[BatchTimes] = []
        limits = {"max_batch": max_batch, "max_queue_images": max_queue_images}
        self.batcher = Batcher(fake, runners=1, observe=self.times.append, **limits)

    def submit(self, count: int, seed: int = 0) -> asyncio.Task[list[int]]:
        return asyncio.create_task(collect(self.batcher, request(count, seed)))

    async def __aenter__(self) -> Busy:
        self.first = self.submit(1)
        await until(lambda: len(self.fake.batches) == 1)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.fake.permit()
        await asyncio.to_thread(self.batcher.close)


@in_event_loop
async def test_whatever_waits_shares_a_batch(fake: Fake) -> None:
    async with Busy(fake) as busy:
        jobs = [busy.submit(3, seed) for seed in (10, 20, 30)]
        await until(lambda: busy.batcher.waiting == 9)
        fake.permit()
        assert await asyncio.gather(*jobs) == [[10, 11, 12], [20, 21, 22], [30, 31, 32]]
    assert fake.batches == [[0], [10, 11, 12, 20, 21, 22, 30, 31, 32]]
    assert [times.images for times in busy.times] == [1, 9]


@pytest.mark.parametrize(("count", "shares"), [(16, [8, 8]), (17, [8, 9]), (2, [1, 1])])
@in_event_loop
async def test_a_lone_request_is_shared_by_idle_runners(
    fake: Fake, count: int, shares: list[int]
) -> None:
    batcher = Batcher(fake, runners=2, max_batch=64, max_queue_images=100)
    while sorted(map(len, fake.batches)) != shares:  # at first the runners may not be idle yet
        fake.batches.clear()
        job = asyncio.create_task(collect(batcher, request(count)))
        await until(lambda: sum(map(len, fake.batches)) == count)
        fake.permit(len(fake.batches))
        await job
        await asyncio.sleep(0.001)
    await asyncio.to_thread(batcher.close)


@pytest.mark.parametrize("max_batch", [1, 5, 16, 50])
@in_event_loop
async def test_no_batch_is_larger_than_the_largest(fake: Fake, max_batch: int) -> None:
    async with Busy(fake, max_batch) as busy:
        jobs = [busy.submit(count, 10) for count in (1, 7, 16, 17, 40)]
        await until(lambda: busy.batcher.waiting == 81)
        fake.permit()
        await asyncio.gather(*jobs)
    full, rest = divmod(81, max_batch)
    assert [len(batch) for batch in fake.batches[1:]] == [max_batch] * full + [rest][: rest > 0]


@pytest.mark.parametrize(("max_batch", "latest"), [(64, 1), (16, 2), (4, 2)])
@in_event_loop
async def test_a_large_request_holds_up_a_small_one_by_a_batch_at_most(
    fake: Fake, max_batch: int, latest: int
) -> None:
    async with Busy(fake, max_batch) as busy:
        large = busy.submit(400, 1000)
        await until(lambda: busy.batcher.waiting == 400)
        small = busy.submit(2, 1)
        await until(lambda: busy.batcher.waiting == 402)
        fake.permit(1 + latest)
        assert await asyncio.wait_for(small, TIMEOUT_S) == [1, 2]
        assert not large.done()
        assert {1, 2} <= {seed for batch in fake.batches[: 1 + latest] for seed in batch}
        large.cancel()


@in_event_loop
async def test_the_queue_takes_as_many_images_as_it_may_and_no_more(fake: Fake) -> None:
    limit = "would exceed 10; try again later"
    async with Busy(fake, max_queue_images=10) as busy:
        jobs = [busy.submit(4, 10)]
        await until(lambda: busy.batcher.waiting == 4)
        refused = await refusal(busy.batcher, 7)
        assert str(refused.value) == "4 images wait for toy, 7 more " + limit
        jobs.append(busy.submit(6, 20))
        await until(lambda: busy.batcher.waiting == 10)
        refused = await refusal(busy.batcher, 1)
        assert refused.type is QueueFull
        assert str(refused.value) == "10 images wait for toy, 1 more " + limit
        fake.permit()
        await asyncio.gather(busy.first, *jobs)
        assert busy.batcher.waiting == 0
        assert len(await collect(busy.batcher, request(10))) == 10


@in_event_loop
async def test_what_a_cancelled_request_has_waiting_is_never_computed(fake: Fake) -> None:
    async with Busy(fake, max_batch=4) as busy:
        cancelled = busy.submit(100, 1000)
        other = busy.submit(3, 1)
        await until(lambda: busy.batcher.waiting == 103)
        fake.permit(1)
        await until(lambda: len(fake.batches) == 2)
        assert fake.batches[1] == [1000, 1001, 1002, 1003]
        cancelled.cancel()
        await until(lambda: busy.batcher.waiting == 3)
        fake.permit()
        assert await other == [1, 2, 3]
    assert cancelled.cancelled()
    assert fake.batches[2:] == [[1, 2, 3]]
    assert busy.batcher.waiting == 0


@in_event_loop
async def test_leaving_the_iteration_drops_the_rest(fake: Fake) -> None:
    async with Busy(fake, max_batch=4) as busy:
        fake.permit(2)
        async with aclosing(busy.batcher.images(request(100, 1000))) as batches:
            async for _ in batches:
                break
        await until(lambda: busy.batcher.waiting == 0)
        fake.permit()
        assert await collect(busy.batcher, request(1, 7)) == [7]
    assert sum(map(len, fake.batches)) <= 1 + 4 + 4 + 1


@in_event_loop
async def test_a_failing_batch_fails_its_own_requests_and_no_others(fake: Fake) -> None:
    async with Busy(fake, max_batch=4) as busy:
        bad = [busy.submit(2, POISON), busy.submit(2, 1)]  # these two share a batch
        good = busy.submit(4, 10)
        large = busy.submit(90, POISON)
        await until(lambda: busy.batcher.waiting == 98)
        fake.permit()
        for job in (*bad, large):
            with pytest.raises(ValueError, match=r"^poison$"):
                await job
        assert await busy.first == [0]
        assert await good == [10, 11, 12, 13]
        await until(lambda: busy.batcher.waiting == 0)
        assert await collect(busy.batcher, request(9, 20)) == list(range(20, 29))


@in_event_loop
async def test_closing_finishes_what_was_submitted_and_then_refuses(fake: Fake) -> None:
    async with Busy(fake, max_batch=4, max_queue_images=20) as busy:
        job = busy.submit(20, 1)
        await until(lambda: busy.batcher.waiting == 20)
        closing = asyncio.create_task(asyncio.to_thread(busy.batcher.close))
        while (refused := await refusal(busy.batcher)).type is QueueFull:
            await asyncio.sleep(0.001)  # until the other thread has got that far
        assert (refused.type, str(refused.value)) == (NotReady, "the server is stopping")
        assert not closing.done()
        fake.permit()
        assert await job == list(range(1, 21))
        await asyncio.wait_for(closing, TIMEOUT_S)
        assert (await refusal(busy.batcher)).type is NotReady
