"""The batcher: who shares a batch, who waits for whom, and what ends early."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
import pytest
from numpy.typing import NDArray

from server.batching import Batcher, BatchTimes
from server.encoding import Encoding, ImageFormat
from server.errors import NotReady, QueueFull, ServingError
from server.requests import Plan, Priority
from tests.toys import write_toy
from zoo.card import Card
from zoo.execution import Execution, Feeds
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


@dataclass
class Lanes(Execution):
    """Nothing that could run; the fake makes its images itself."""

    lanes: int
    provider: str = "none"

    def run(self, feeds: Feeds, lane: int) -> NDArray[np.uint8]:
        raise NotImplementedError


class Fake(Generator):
    """Makes images of which each pixel is the seed; each batch waits for leave to run."""

    def __init__(self, card: Card, lanes: int = 1) -> None:
        self.card = card
        self.execution = Lanes(lanes)
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


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(write_toy(tmp_path, "toy"))


def a_batcher(generator: Generator, **settings: Any) -> Batcher:
    limits = {"max_batch": 64, "max_queue_images": 1000, "max_queue_bytes": 10**9}
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
    tmp_path: Path, count: int, shares: list[int]
) -> None:
    fake = Fake(write_toy(tmp_path, "toy"), lanes=2)
    batcher = a_batcher(fake)
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


@in_event_loop
async def test_a_lone_image_goes_to_the_lane_that_others_help(tmp_path: Path) -> None:
    fake = Fake(write_toy(tmp_path, "toy"), lanes=3)
    batcher = a_batcher(fake)
    fake.permit()
    await collect(batcher, request(30))  # every runner has started
    for seed in range(20):
        await until(lambda: len(batcher._idle) == 3)
        fake.used_lanes.clear()
        assert await collect(batcher, request(1, seed)) == [seed]
        assert fake.used_lanes == [0]
    await asyncio.to_thread(batcher.close)


@in_event_loop
async def test_bulk_images_get_what_normal_ones_leave_of_a_batch(fake: Fake) -> None:
    async with Busy(fake, max_batch=8) as busy:
        bulk = busy.submit(20, 1000, Priority.BULK)
        await until(lambda: busy.batcher.waiting == 20)
        normal = busy.submit(13, 1)
        await until(lambda: busy.batcher.waiting == 33)
        fake.permit()
        assert await normal == list(range(1, 14))
        assert await bulk == list(range(1000, 1020))
    assert fake.batches[1] == list(range(1, 9))
    assert fake.batches[2] == [*range(9, 14), 1000, 1001, 1002]
    assert fake.batches[3] == list(range(1003, 1011))


@in_event_loop
async def test_a_stream_is_made_no_further_ahead_than_its_window(fake: Fake) -> None:
    async with Busy(fake, max_batch=4) as busy:
        fake.permit(1)
        await busy.first
        fake.permit(100)
        async with aclosing(busy.batcher.images(request(100, 1), streamed=True)) as parts:
            first = await anext(parts)
            await until(lambda: busy.batcher.waiting == 100 - 8)  # two batches ahead of the reader
            await asyncio.sleep(0.05)
            assert busy.batcher.waiting == 92
            read = [image.seed for image in first]
            async for images in parts:
                read += [image.seed for image in images]
                assert 100 - busy.batcher.waiting - len(read) <= 8
        assert read == list(range(1, 101))
        assert busy.batcher.held_bytes == 0


@in_event_loop
async def test_a_stream_that_nobody_reads_leaves_the_runner_to_others(fake: Fake) -> None:
    async with Busy(fake, max_batch=4) as busy:
        fake.permit()
        async with aclosing(busy.batcher.images(request(100, 1), streamed=True)) as parts:
            await anext(parts)
            await until(lambda: busy.batcher.waiting == 92)
            assert await busy.submit(9, 500) == list(range(500, 509))
        await until(lambda: busy.batcher.waiting == 0)
    assert busy.batcher.held_bytes == 0


@in_event_loop
async def test_memory_of_requests_is_bounded(fake: Fake) -> None:
    of_ten = 10 * (12 * 12 + 1024)
    async with Busy(fake, max_queue_bytes=2 * of_ten) as busy:
        jobs = [busy.submit(10, 10)]
        await until(lambda: busy.batcher.waiting == 10)
        refused = await refusal(busy.batcher, 10)
        assert str(refused.value) == (
            f"requests for toy hold {of_ten * 11 // 10:,} bytes, {of_ten:,} more would exceed "
            f"{2 * of_ten:,}; try again later"
        )
        jobs.append(busy.submit(9, 20))
        await until(lambda: busy.batcher.held_bytes == 2 * of_ten)
        fake.permit()
        await asyncio.gather(busy.first, *jobs)
        assert busy.batcher.held_bytes == 0
        assert len(await collect(busy.batcher, request(50))) == 50  # alone it is let in


@in_event_loop
async def test_who_is_refused_hears_when_to_come_back(fake: Fake) -> None:
    async with Busy(fake, max_queue_images=500) as busy:
        jobs = [busy.submit(500, 1)]
        await until(lambda: busy.batcher.waiting == 500)
        first = (await refusal(busy.batcher)).value
        assert isinstance(first, QueueFull)
        assert first.retry_after_s == 0.05  # nothing is known of the pace yet
        await asyncio.sleep(0.01)
        fake.permit(1)
        await busy.first  # the pace: at least 10 ms an image
        jobs.append(busy.submit(60, 1000))
        await until(lambda: busy.batcher.waiting > 460)
        later = (await refusal(busy.batcher, 100)).value
        assert isinstance(later, QueueFull)
        assert 0.01 * 460 <= later.retry_after_s <= 30
        fake.permit()
        await asyncio.gather(*jobs)


@in_event_loop
async def test_a_delay_lets_a_batch_fill_up(fake: Fake) -> None:
    batcher = a_batcher(fake, max_batch=4, max_queue_delay_s=60)
    fake.permit()
    jobs = [asyncio.create_task(collect(batcher, request(1, seed))) for seed in range(3)]
    await until(lambda: batcher.waiting == 3)
    await asyncio.sleep(0.02)
    assert batcher.waiting == 3
    assert await collect(batcher, request(1, 3)) == [3]
    await asyncio.gather(*jobs)
    assert fake.batches == [[0, 1, 2, 3]]
    rest = asyncio.create_task(collect(batcher, request(1, 4)))
    await until(lambda: batcher.waiting == 1)
    await asyncio.to_thread(batcher.close)  # which does not wait for company
    assert await rest == [4]


@in_event_loop
async def test_a_delay_ends(fake: Fake) -> None:
    batcher = a_batcher(fake, max_batch=4, max_queue_delay_s=0.02)
    fake.permit()
    assert await collect(batcher, request(1, 4)) == [4]
    await asyncio.to_thread(batcher.close)
