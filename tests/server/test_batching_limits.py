"""The batcher: priorities, windows of streams, memory, delays."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from itertools import chain
from pathlib import Path

import pytest

from server.errors import QueueFull
from server.requests import Priority
from tests.server.busy import (
    TIMEOUT_S,
    Busy,
    Fake,
    a_batcher,
    collect,
    in_event_loop,
    refusal,
    request,
    until,
)
from tests.toys import write_toy


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(write_toy(tmp_path, "toy"))


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
    assert list(chain(*fake.batches[1:])) == [*range(1, 14), *range(1000, 1020)]
    assert any({13, 1000} <= set(batch) for batch in fake.batches)


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
        await until(lambda: busy.batcher.waiting < 500)  # a batch stands at the gate
        waiting = busy.batcher.waiting
        later = (await refusal(busy.batcher, 100)).value
        assert isinstance(later, QueueFull)
        assert 0.01 * waiting <= later.retry_after_s <= 30
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


@pytest.mark.parametrize(
    ("image_s", "largest"), [(0.1, 10), (0.099, 10), (0.26, 3), (0.9, 1), (5.0, 1), (0.001, 64)]
)
@in_event_loop
async def test_a_batch_has_as_many_images_as_its_time_allows(
    fake: Fake, image_s: float, largest: int
) -> None:
    batcher = a_batcher(fake, image_s=image_s)
    assert batcher.max_batch == largest
    job = asyncio.create_task(collect(batcher, request(70)))
    await until(lambda: len(fake.batches) == 1)
    assert len(fake.batches[0]) == largest
    fake.permit()
    await job
    await asyncio.to_thread(batcher.close)


@in_event_loop
async def test_a_quicker_batch_than_was_known_makes_batches_larger(fake: Fake) -> None:
    fake.permit()
    batcher = a_batcher(fake, image_s=1.0, max_batch=40)
    assert batcher.max_batch == 1
    await collect(batcher, request(8))
    assert batcher.max_batch == 40
    await asyncio.to_thread(batcher.close)


@pytest.mark.parametrize("leaves", [True, False])
@in_event_loop
async def test_closing_ends_every_runner_whatever_becomes_of_a_stream(
    tmp_path: Path, leaves: bool
) -> None:
    fake = Fake(write_toy(tmp_path, "toy"), lanes=3)
    fake.permit()
    batcher = a_batcher(fake, max_batch=2)
    async with aclosing(batcher.images(request(100), streamed=True)) as parts:
        read = len(await anext(parts))
        await until(lambda: batcher.waiting == 100 - 12 and len(batcher._idle) == 3)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await until(lambda: batcher._closed)
        if not leaves:
            read += sum([len(part) async for part in parts])
    await asyncio.wait_for(closing, TIMEOUT_S)
    assert leaves or read == 100
    assert batcher.waiting == 0
