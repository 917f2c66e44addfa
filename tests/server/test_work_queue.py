"""The queue by itself: any sequence of events keeps its counts, its turns and its windows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.encoding import Encoding
from server.requests import Plan, Priority
from server.work_queue import Job, WorkQueue

_EVENTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), st.integers(1, 60), st.integers(1, 60), st.sampled_from(Priority)
        ),
        st.tuples(st.just("take"), st.integers(1, 40)),
        st.tuples(st.just("read"), st.integers(0, 9), st.integers(1, 20)),
        st.tuples(st.just("drop"), st.integers(0, 9)),
    ),
    max_size=60,
)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def job(
    loop: asyncio.AbstractEventLoop,
    count: int,
    window: int | None = None,
    priority: Priority = Priority.NORMAL,
) -> Job[None]:
    plan = Plan(range(count), (None,), (), 0, Encoding(), priority=priority)
    return Job(plan, loop, window or count, held_bytes=count)


@settings(max_examples=300, deadline=None)
@given(events=_EVENTS)
def test_counts_are_those_of_the_jobs(loop: asyncio.AbstractEventLoop, events: list[Any]) -> None:
    queue: WorkQueue[None] = WorkQueue()
    jobs: list[Job[None]] = []
    made: dict[Job[None], list[int]] = {}
    for kind, *values in events:
        if kind == "add":
            count, window, priority = values
            jobs.append(job(loop, count, window, priority))
            made[jobs[-1]] = []
            queue.add(jobs[-1])
        elif kind == "take":
            turn = 8 if len(jobs) > 1 else 60
            turns = {j: min(j.ready, turn) for j in jobs}
            normal = sum(n for j, n in turns.items() if j.plan.priority is Priority.NORMAL)
            batch = queue.take(values[0])
            assert len({j for j, _ in batch}) == len(batch)
            assert sum(len(i) for _, i in batch) == min(values[0], sum(turns.values()))
            of_normal = [i for j, i in batch if j.plan.priority is Priority.NORMAL]
            assert sum(map(len, of_normal)) == min(values[0], normal)
            for taken, indices in batch:
                made[taken] += indices
        elif jobs:
            chosen = jobs[values[0] % len(jobs)]
            if kind == "drop":
                queue.drop(chosen)
                jobs.remove(chosen)
            elif n := min(values[1], chosen.unread):
                queue.read(chosen, n)
        assert queue.waiting == sum(j.left for j in jobs)
        assert queue.ready == sum(j.ready for j in jobs)
        assert queue.held_bytes == sum(j.held_bytes for j in jobs)
        assert all(0 <= j.unread <= j.window for j in jobs)
        assert all(made[j] == list(range(j.next)) for j in jobs)
        assert (queue.oldest_s is None) == (queue.ready == 0)


def test_requests_take_turns(loop: asyncio.AbstractEventLoop) -> None:
    queue: WorkQueue[None] = WorkQueue()
    large, small = job(loop, 100), job(loop, 20)
    queue.add(large)
    queue.add(small)
    assert queue.take(12) == [(large, range(8)), (small, range(4))]
    assert queue.take(40) == [(large, range(8, 16)), (small, range(4, 12))]
    assert queue.take(40) == [(large, range(16, 24)), (small, range(12, 20))]
    assert queue.take(40) == [(large, range(24, 32))]  # small may come again: its answer is not out
    queue.drop(small)
    assert queue.take(40) == [(large, range(32, 72))]


def test_nobody_is_ahead_of_those_who_came_before(loop: asyncio.AbstractEventLoop) -> None:
    queue: WorkQueue[None] = WorkQueue()
    jobs = [job(loop, 2) for _ in range(5)]
    for one in jobs:
        queue.add(one)
    assert queue.take(5) == [(jobs[0], range(2)), (jobs[1], range(2)), (jobs[2], range(1))]
    assert queue.oldest_s == jobs[2].submitted_s
    assert [j for j, _ in queue.take(9)] == [jobs[3], jobs[4], jobs[2]]
    assert queue.oldest_s is None


def test_a_job_that_catches_up_lines_up_again(loop: asyncio.AbstractEventLoop) -> None:
    queue: WorkQueue[None] = WorkQueue()
    lagging, other = job(loop, 10, window=4), job(loop, 3)
    queue.add(lagging)
    assert queue.take(9) == [(lagging, range(4))]
    assert (queue.waiting, queue.ready) == (6, 0)
    assert queue.take(9) == []
    queue.add(other)
    queue.read(lagging, 3)
    assert queue.take(9) == [(other, range(3)), (lagging, range(4, 7))]
    queue.read(lagging, 4)
    assert queue.take(9) == [(lagging, range(7, 10))]
    queue.read(lagging, 3)
    assert (queue.waiting, queue.ready) == (0, 0)
