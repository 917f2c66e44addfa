"""The queue: requests that have images to make, and whose turn it is.

Work is counted in images. Requests of one priority take turns, one turn a batch, and share it; but
beside a small request, even one that has yet to come, the turn of another is short, so that nobody
small is held up by somebody large. BULK requests get what NORMAL ones leave of a batch. A
request whose reader lags behind is passed over until it catches up.

Nothing here knows threads: the batcher calls it under its lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from server.requests import Plan, Priority

_SMALL = 16  # images; a request of so many is a small one
# Images that one request puts into a batch while there are small ones beside it: a large one, and a
# small one.
TURN, _SMALL_TURN = 2, 4
_QUIET_S = 0.05  # after a small one has left, in which it may come back with the next request

Result = TypeVar("Result")


@dataclass(eq=False)
class Job(Generic[Result]):
    """A request on its way.

    Attributes:
        plan: what to make.
        loop: where its results are awaited.
        window: most images that are being made or wait to be read.
        held_bytes: what it takes of memory, at most.
        next: its first image that no runner has taken.
        unread: images that a runner has taken and the request has not read.
    """

    plan: Plan
    loop: asyncio.AbstractEventLoop
    window: int
    held_bytes: int
    results: asyncio.Queue[Result] = field(default_factory=asyncio.Queue)
    submitted_s: float = field(default_factory=time.perf_counter)
    next: int = 0
    unread: int = 0
    cancelled: bool = False

    @property
    def left(self) -> int:
        """Images that no runner has taken."""
        return self.plan.count - self.next

    @property
    def ready(self) -> int:
        """Images that may be taken now."""
        return min(self.left, self.window - self.unread)


class WorkQueue(Generic[Result]):
    """Jobs by priority, each in its turn.

    Attributes:
        waiting: images of all jobs that no runner has taken.
        ready: those of them that may be taken now.
        held_bytes: memory of all jobs that have not been dropped, at most.
        jobs: that have not been dropped, those without images to take included.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self.ready = 0
        self.held_bytes = 0
        self.jobs = 0
        self._small = 0  # jobs
        self._left_s = -math.inf  # when a small one left others behind
        self._turns: dict[Priority, deque[Job[Result]]] = {p: deque() for p in Priority}

    @property
    def oldest_s(self) -> float | None:
        """When the job was submitted that has waited longest, by `time.perf_counter`."""
        return min(
            (job.submitted_s for turns in self._turns.values() for job in turns), default=None
        )

    def add(self, job: Job[Result]) -> None:
        """A new job."""
        self.jobs += 1
        self._small += job.plan.count <= _SMALL
        self.held_bytes += job.held_bytes
        self.waiting += job.left
        self._line_up(job, job.ready)

    def take(self, room: int, turn: int = TURN) -> list[tuple[Job[Result], range]]:
        """At most `room` images, by job; those of NORMAL jobs first.

        Args:
            room: images.
            turn: most images of a large job, while there are small ones beside it.
        """
        batch = []
        for turns in self._turns.values():
            share = -(-room // max(1, len(turns)))
            for _ in range(len(turns)):
                if not room:
                    break
                job = turns.popleft()
                n = min(room, job.ready, self._turn(job, share, turn))
                batch.append((job, range(job.next, job.next + n)))
                job.next += n
                job.unread += n
                room -= n
                self.waiting -= n
                self.ready -= n
                if job.ready:
                    turns.append(job)
            if turns:
                break
        return batch

    def read(self, job: Job[Result], n: int) -> None:
        """The job's request has read `n` images: that many more may be made."""
        before = job.ready
        job.unread -= n
        if before:
            self.ready += job.ready - before
        else:
            self._line_up(job, job.ready)

    def drop(self, job: Job[Result]) -> None:
        """The job has ended or is not wanted any more; each job is dropped once."""
        job.cancelled = True
        self.jobs -= 1
        if job.plan.count <= _SMALL:
            self._small -= 1
            if self.jobs:
                self._left_s = time.perf_counter()
        self.held_bytes -= job.held_bytes
        self.waiting -= job.left
        if job.ready:
            self.ready -= job.ready
            self._turns[job.plan.priority].remove(job)
        job.next = job.plan.count

    def _turn(self, job: Job[Result], share: int, turn: int) -> int:
        small = job.plan.count <= _SMALL
        turn = max(turn, _SMALL_TURN) if small else turn
        left = time.perf_counter() - self._left_s < _QUIET_S
        return turn if self._small - small or left else max(share, turn)

    def _line_up(self, job: Job[Result], ready: int) -> None:
        if ready:
            self.ready += ready
            self._turns[job.plan.priority].append(job)
