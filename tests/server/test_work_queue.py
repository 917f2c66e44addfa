"""The queue by itself: any sequence of events keeps its counts, its turns and its windows."""

from __future__ import annotations

import asyncio
import math
import time
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


def turn(one: Job[None], jobs: list[Job[None]], left: bool, share: int) -> int:
    """As many images as it may get beside the other jobs."""
    small_ones = any(other.plan.count <= 16 for other in jobs if other is not one)
    most = 4 if one.plan.count <= 16 else 2
    return most if small_ones or left else max(share, most)


@settings(max_examples=300, deadline=None)
@given(events=_EVENTS)
def test_counts_are_those_of_the_jobs(loop: asyncio.AbstractEventLoop, events: list[Any]) -> None:
    queue: WorkQueue[None] = WorkQueue()
    jobs: list[Job[None]] = []
    made: dict[Job[None], list[int]] = {}
    left = False  # a small one, and others stayed; no time passes in this test
    for kind, *values in events:
        if kind == "add":
            count, window, priority = values
            jobs.append(job(loop, count, window, priority))
            made[jobs[-1]] = []
            queue.add(jobs[-1])
        elif kind == "take":
            expected, room = {}, values[0]
            for priority in Priority:
                in_line = [j for j in jobs if j.plan.priority is priority and j.ready]
                share = math.ceil(room / max(1, len(in_line)))
                turns = {j: min(j.ready, turn(j, jobs, left, share)) for j in in_line}
                expected[priority] = min(room, sum(turns.values()))
                room -= expected[priority]
                if expected[priority] < sum(j.ready for j in in_line):
                    break
            batch = queue.take(values[0])
            assert len({j for j, _ in batch}) == len(batch)
            for priority in Priority:
                taken_of_it = sum(len(i) for j, i in batch if j.plan.priority is priority)
                assert taken_of_it == expected.get(priority, 0)
            for taken, indices in batch:
                made[taken] += indices
        elif jobs:
            chosen = jobs[values[0] % len(jobs)]
            if kind == "drop":
                queue.drop(chosen)
                jobs.remove(chosen)
                left |= chosen.plan.count <= 16 and len(jobs) > 0
            elif n := min(values[1], chosen.unread):
                queue.read(chosen, n)
        assert queue.waiting == sum(j.left for j in jobs)
        assert queue.ready == sum(j.ready for j in jobs)
        assert queue.held_bytes == sum(j.held_bytes for j in jobs)
        assert all(0 <= j.unread <= j.window for j in jobs)
        assert all(made[j] == list(range(j.next)) for j in jobs)
        assert (queue.oldest_s is None) == (queue.ready == 0)


def test_beside_a_small_request_turns_are_short(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now_s)
    queue: WorkQueue[None] = WorkQueue()
    large, small = job(loop, 100), job(loop, 10)
    queue.add(large)
    assert queue.take(12) == [(large, range(12))]
    queue.add(small)
    assert queue.take(8) == [(large, range(12, 14)), (small, range(4))]  # its share is 4
    assert queue.take(40) == [(large, range(14, 16)), (small, range(4, 10))]
    assert queue.take(40) == [(large, range(16, 18))]  # small may come again: its answer is not out
    queue.drop(small)
    assert queue.take(40, 3) == [(large, range(18, 21))]  # soon after, too
    now_s = 0.049
    assert queue.take(40) == [(large, range(21, 23))]
    now_s = 0.05
    assert queue.take(40) == [(large, range(23, 63))]


@pytest.mark.parametrize(("count", "turn"), [(16, 2), (17, 20)])
def test_large_requests_share_whole_batches(
    loop: asyncio.AbstractEventLoop, count: int, turn: int
) -> None:
    queue: WorkQueue[None] = WorkQueue()
    large, other = job(loop, 100), job(loop, count)
    queue.add(large)
    queue.add(other)
    assert queue.take(40) == [(large, range(turn)), (other, range(count))]


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
