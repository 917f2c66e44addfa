"""The batcher: who shares a batch, who waits for whom, and what ends early."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from server.errors import NotReady, QueueFull
from tests.server.busy import (
    POISON,
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
from zoo.runtime import CUDA


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(write_toy(tmp_path, "toy"))


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


@pytest.mark.parametrize(
    ("image_s", "max_batch", "counts"),
    [(8e-4, 64, (1, 2)), (3.9e-4, 64, (3, 3)), (1e-6, 3, (1, 2))],
)
@in_event_loop
async def test_among_several_requests_a_further_runner_joins_in_for_enough_images_only(
    tmp_path: Path, image_s: float, max_batch: int, counts: tuple[int, int]
) -> None:
    # 0.8 ms for each of three requests, or a whole batch
    fake = Fake(write_toy(tmp_path, "toy"), lanes=2)
    batcher = a_batcher(fake, image_s=image_s, max_batch=max_batch)
    jobs = [asyncio.create_task(collect(batcher, request(1)))]
    await until(lambda: fake.batches == [[0]])
    jobs.append(asyncio.create_task(collect(batcher, request(counts[0], 10))))
    await until(lambda: batcher.waiting == counts[0])
    jobs.append(asyncio.create_task(collect(batcher, request(counts[1], 20))))
    await until(lambda: len(fake.batches) == 2)
    assert sorted(fake.batches[1]) == [10 + i for i in range(counts[0])] + [
        20 + i for i in range(counts[1])
    ]
    fake.permit()
    await asyncio.gather(*jobs)
    await asyncio.to_thread(batcher.close)


@in_event_loop
async def test_the_more_cores_are_left_the_fewer_images_will_do(tmp_path: Path) -> None:
    fake = Fake(write_toy(tmp_path, "toy"), lanes=3)
    batcher = a_batcher(fake, image_s=3.9e-4)  # for two jobs 4 images, half of them with two cores
    jobs: list[asyncio.Task[list[int]]] = []
    for count, batches, waiting in ((1, 1, 0), (2, 2, 0), (4, 2, 4), (4, 3, 0)):
        jobs.append(asyncio.create_task(collect(batcher, request(count, 10 * len(jobs)))))
        state = (batches, waiting)
        await until(lambda state=state: (len(fake.batches), batcher.waiting) == state)  # type: ignore[misc]
    assert fake.batches == [[0], [10, 11], [20, 21, 22, 23, 30, 31, 32, 33]]
    fake.permit()
    await asyncio.gather(*jobs)
    await asyncio.to_thread(batcher.close)


@in_event_loop
async def test_a_further_device_joins_in_for_any_image(tmp_path: Path) -> None:
    fake = Fake(write_toy(tmp_path, "toy"), lanes=2)
    fake.execution.provider = CUDA
    batcher = a_batcher(fake, image_s=8e-4)
    jobs = []
    for seed in (10, 20):
        jobs.append(asyncio.create_task(collect(batcher, request(1, seed))))
        await until(lambda: len(fake.batches) == len(jobs))
    assert fake.batches == [[10], [20]]
    fake.permit()
    await asyncio.gather(*jobs)
    await asyncio.to_thread(batcher.close)


@in_event_loop
async def test_a_request_that_ends_may_leave_enough_for_a_further_runner(tmp_path: Path) -> None:
    fake = Fake(write_toy(tmp_path, "toy"), lanes=2)
    batcher = a_batcher(fake, image_s=4e-4)  # two images a request
    first = asyncio.create_task(collect(batcher, request(1)))
    await until(lambda: fake.batches == [[0]])
    ending, staying = (
        asyncio.create_task(collect(batcher, request(count, seed)))
        for count, seed in ((1, 10), (4, 20))
    )
    await until(lambda: batcher.waiting == 5)
    ending.cancel()
    await until(lambda: len(fake.batches) == 2)
    assert fake.batches[1] == [20, 21, 22, 23]
    fake.permit()
    await asyncio.gather(first, staying)
    await asyncio.to_thread(batcher.close)


@pytest.mark.parametrize("max_batch", [1, 5, 8])
@in_event_loop
async def test_no_batch_is_larger_than_the_largest(fake: Fake, max_batch: int) -> None:
    async with Busy(fake, max_batch) as busy:
        jobs = [busy.submit(count, 10) for count in (1, 7, 16, 17, 40)]
        await until(lambda: busy.batcher.waiting == 81)
        fake.permit()
        await asyncio.gather(*jobs)
    sizes = [len(batch) for batch in fake.batches[1:]]
    assert (max(sizes), sum(sizes)) == (max_batch, 81)


@pytest.mark.parametrize(("max_batch", "latest"), [(64, 1), (16, 2), (4, 2)])
@in_event_loop
async def test_a_large_request_holds_up_a_small_one_by_a_batch_at_most(
    fake: Fake, max_batch: int, latest: int
) -> None:
    async with Busy(fake, max_batch, image_s=4e-4) as busy:
        large = busy.submit(400, 1000)
        await until(lambda: busy.batcher.waiting == 400)
        small = busy.submit(2, 1)
        await until(lambda: busy.batcher.waiting == 402)
        fake.permit(1 + latest)
        assert await asyncio.wait_for(small, TIMEOUT_S) == [1, 2]
        assert not large.done()
        assert {1, 2} <= {seed for batch in fake.batches[: 1 + latest] for seed in batch}
        large.cancel()


@pytest.mark.parametrize(("image_s", "turn"), [(1e-3, 2), (2e-4, 3), (1.4e-4, 5), (1e-6, 64)])
@in_event_loop
async def test_beside_a_small_request_a_large_one_gets_a_moment_of_a_batch(
    fake: Fake, image_s: float, turn: int
) -> None:
    async with Busy(fake, image_s=image_s) as busy:  # 0.75 ms, at least 2 images
        large = busy.submit(400, 1000)
        await until(lambda: busy.batcher.waiting == 400)
        small = busy.submit(2, 1)
        await until(lambda: busy.batcher.waiting == 402)
        fake.permit(1)
        await until(lambda: len(fake.batches) == 2)
        assert len([seed for seed in fake.batches[1] if seed >= 1000]) == turn
        large.cancel()
        small.cancel()


@in_event_loop
async def test_a_batch_has_as_many_images_as_the_execution_likes(fake: Fake) -> None:
    fake.execution.fit = lambda n: min(n, 4)  # type: ignore[method-assign]
    async with Busy(fake) as busy:
        jobs = [busy.submit(3, seed) for seed in (10, 20, 30)]
        await until(lambda: busy.batcher.waiting == 9)
        fake.permit()
        await asyncio.gather(*jobs)
    assert [len(batch) for batch in fake.batches] == [1, 4, 4, 1]


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
    for seed in range(20):
        await until(lambda: len(batcher._idle) == 3)
        fake.used_lanes.clear()
        assert await collect(batcher, request(1, seed)) == [seed]
        assert fake.used_lanes == [0]
    await asyncio.to_thread(batcher.close)
