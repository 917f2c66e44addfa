"""The batcher: images that wait, from any number of requests, go through the generator together.

Work is queued as images. While no runner computes, whatever waits is taken at once: nobody is made
to wait for company unless a delay is set. A lone request is spread over all runners. Among several
requests, on a CPU, a further runner joins in only when enough waits for it: small batches are slow,
and the core that it takes is one that would have received and answered requests.
`server/work_queue.py` says whose images come first.

A runner, one for each lane of the generator, does everything for its batch in one thread: latents,
the network, the encoding. Results reach the event loop in one hand-over a batch.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import Final

from server.batch import BatchTimes, compute
from server.errors import NotReady, QueueFull
from server.requests import FinishedImage, Plan
from server.work_queue import TURN, Job, WorkQueue
from zoo.generator import Generator
from zoo.runtime import CPU

_WINDOW_BYTES: Final = 8 * 1024 * 1024  # of images that a stream's reader may lag behind
_IMAGE_BYTES: Final = 1024  # what a finished image takes beside its pixels
# What receiving and answering a request takes of the cores, with its caller's part and the waiting
# for Python's lock (docs/benchmarks.md).
_REQUEST_S: Final = 8e-4
_TURN_S: Final = 7.5e-4  # that a large request's images in a batch take, beside small requests
_LEAST_S: Final = 1e-9  # that an image takes, for dividing by it
_PACE: Final = 0.1  # weight of the last batch in the average of seconds an image
_RETRY_S: Final = (0.05, 30.0)  # soonest and latest that somebody is told to come back


Results = tuple[list[FinishedImage], BatchTimes] | Exception
_Job = Job[Results]


class Batcher:
    """Runs one model for many requests, all of them on one event loop.

    Args:
        generator: makes the images; a runner for each of its lanes.
        max_batch: most images in a batch.
        max_batch_s: how long computing a batch may take. It is what a lone image waits for under
            load, and what the memory of a run is proportional to.
        image_s: how long an image takes in a batch, as far as is known. Less is believed when it is
            seen: whatever else the machine does makes it longer.
        max_queue_images: most images waiting; a request that would exceed it is refused.
        max_queue_bytes: most memory of requests that have not been answered, finished images
            included; a request that would exceed it is refused unless it is alone.
        max_queue_delay_s: how long an image may wait for a batch to fill up.
        observe: told about every batch, from a runner's thread.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        max_batch: int,
        max_batch_s: float,
        image_s: float,
        max_queue_images: int,
        max_queue_bytes: int,
        max_queue_delay_s: float = 0.0,
        observe: Callable[[BatchTimes], None] = lambda _: None,
    ) -> None:
        self._most = max_batch
        self._max_batch_s = max_batch_s
        self._image_s = max(image_s, _LEAST_S)
        self._generator = generator
        self._max_queue_images = max_queue_images
        self._max_queue_bytes = max_queue_bytes
        self._max_queue_delay_s = max_queue_delay_s
        self._observe = observe
        self._lock = threading.Lock()
        self._queue: WorkQueue[Results] = WorkQueue()
        self._idle: set[int] = set()  # runners that wait for work
        self._closed = False
        self._pace_s = 0.0  # an image, over all runners
        lanes = generator.execution.lanes
        self._work = [threading.Condition(self._lock) for _ in range(lanes)]
        self._threads = [
            threading.Thread(
                target=self._run, args=[i], name=f"runner-{generator.card.name}-{i}", daemon=True
            )
            for i in range(lanes)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def max_batch(self) -> int:
        """Most images in a batch, as things are; at least 1."""
        return max(1, min(self._most, int(self._max_batch_s / self._image_s)))

    @property
    def runners(self) -> int:
        """Threads that compute."""
        return len(self._threads)

    @property
    def waiting(self) -> int:
        """Images that wait for a runner."""
        return self._queue.waiting

    @property
    def held_bytes(self) -> int:
        """Memory of requests that have not been answered, at most."""
        return self._queue.held_bytes

    @property
    def oldest_s(self) -> float:
        """How long the request that has waited longest has images waiting, seconds; 0: none has."""
        with self._lock:
            submitted_s = self._queue.oldest_s
        return 0.0 if submitted_s is None else time.perf_counter() - submitted_s

    async def images(
        self,
        plan: Plan,
        observe: Callable[[int, BatchTimes], None] | None = None,
        *,
        streamed: bool = False,
    ) -> AsyncGenerator[list[FinishedImage]]:
        """The images of a plan, some at a time, in order of completion.

        Leaving the iteration early, by a break or a cancellation, drops what has not been computed.

        Args:
            plan: what to make.
            observe: told how many of its images came out of which batch, before they are yielded.
            streamed: no more are made ahead of the reader than a small window holds.

        Raises:
            QueueFull: too many images wait already, or too much memory is taken.
            NotReady: the batcher is closed.
        """
        job = self._job(plan, streamed)
        self._submit(job)
        try:
            outstanding = plan.count
            while outstanding:
                finished = await job.results.get()
                if isinstance(finished, Exception):
                    raise finished
                images, times = finished
                outstanding -= len(images)
                if observe is not None:
                    observe(len(images), times)
                yield images
                if streamed and job.left:
                    self._read(job, len(images))
        finally:
            with self._lock:
                self._queue.drop(job)
                self._wake()

    def close(self) -> None:
        """Lets the runners finish what was submitted, and waits for them."""
        with self._lock:
            self._closed = True
            self._wake()
        for thread in self._threads:
            thread.join()

    def _job(self, plan: Plan, streamed: bool) -> _Job:
        image = self._generator.card.image
        image_bytes = image.height * image.width * image.channels + _IMAGE_BYTES
        window = plan.count
        if streamed:
            ahead = 2 * self.max_batch * self.runners
            window = min(window, max(1, min(ahead, _WINDOW_BYTES // image_bytes)))
        held_bytes = window * image_bytes + plan.nbytes
        return Job(plan, asyncio.get_running_loop(), window, held_bytes)

    def _submit(self, job: _Job) -> None:
        with self._lock:
            if self._closed:
                raise NotReady("the server is stopping")
            self._check_room(job)
            self._queue.add(job)
            self._wake()

    def _check_room(self, job: _Job) -> None:
        queue, name = self._queue, self._generator.card.name
        if queue.waiting + job.left > self._max_queue_images:
            raise self._full(
                f"{queue.waiting} images wait for {name}, {job.left} more "
                f"would exceed {self._max_queue_images}"
            )
        # Alone it is let in: it would never be, else.
        if queue.held_bytes and queue.held_bytes + job.held_bytes > self._max_queue_bytes:
            raise self._full(
                f"requests for {name} hold {queue.held_bytes:,} bytes, {job.held_bytes:,} more "
                f"would exceed {self._max_queue_bytes:,}"
            )

    def _full(self, reason: str) -> QueueFull:
        soonest_s, latest_s = _RETRY_S
        wait_s = min(max(self._queue.waiting * self._pace_s, soonest_s), latest_s)
        return QueueFull(f"{reason}; try again later", wait_s)

    def _read(self, job: _Job, n: int) -> None:
        with self._lock:
            self._queue.read(job, n)
            self._wake()

    def _wake(self) -> None:
        # The lowest lanes first: lane 0 is the one that others help. Who waits for a delay to end,
        # or is to hear that nothing is left, finds out by itself whether it is due.
        all_of_them = self._closed or self._max_queue_delay_s
        for lane in sorted(self._idle)[: None if all_of_them else self._due()]:
            self._work[lane].notify()

    def _due(self) -> int:
        """How many more runners should take what waits."""
        queue = self._queue
        if not queue.ready or self._is_delayed(queue):
            return 0
        computing = len(self._idle) < self.runners
        return max(queue.ready // self._worth(), 0 if computing else 1)

    def _worth(self) -> int:
        """Images that are worth a further runner: at least 1, at most a whole batch.

        On a CPU the last one needs as many as take as long to compute as all requests on their way
        take to be received and answered; the more cores are left, the fewer will do.
        """
        jobs, computing = self._queue.jobs, self.runners - len(self._idle)
        if jobs == 1 or self._generator.provider != CPU:
            return 1
        requests_s = _REQUEST_S * jobs * computing / max(1, self.runners - 1)
        return max(1, min(self.max_batch, int(requests_s / self._image_s)))

    def _is_delayed(self, queue: WorkQueue[Results]) -> bool:
        if not self._max_queue_delay_s or self._closed or queue.ready >= self.max_batch:
            return False
        oldest_s = queue.oldest_s
        return oldest_s is None or time.perf_counter() - oldest_s < self._max_queue_delay_s

    def _run(self, lane: int) -> None:
        while batch := self._take(lane):
            _hand_over(self._make(batch, lane))
            del batch  # it would be kept until there is another

    def _make(self, batch: list[tuple[_Job, range]], lane: int) -> list[tuple[_Job, Results]]:
        try:
            encoded, times = compute(self._generator, batch, lane)
        except Exception as error:  # noqa: BLE001  whatever it is, its requests must hear of it
            return [(job, error) for job, _ in batch]
        self._keep_pace(times)
        self._observe(times)
        return [(job, (images, times)) for job, images in encoded]

    def _take(self, lane: int) -> list[tuple[_Job, range]]:
        """Waits for work; returns which images of which jobs to make, or nothing when closed."""
        queue = self._queue
        with self._lock:
            self._idle.add(lane)
            while not self._due():
                if self._closed and not queue.waiting:
                    break
                self._work[lane].wait(self._max_queue_delay_s or None if queue.ready else None)
            share = -(-queue.ready // len(self._idle))
            self._idle.remove(lane)
            room = min(self.max_batch, max(share, self._worth()), queue.ready)
            turn = max(TURN, int(_TURN_S / self._image_s))
            batch = queue.take(self._generator.execution.fit(room), turn)
            self._wake()
            return batch

    def _keep_pace(self, times: BatchTimes) -> None:
        pace_s = (times.compute_s + times.encode_s) / times.images / self.runners
        with self._lock:
            self._image_s = min(self._image_s, max(times.compute_s / times.images, _LEAST_S))
            self._pace_s += (_PACE if self._pace_s else 1.0) * (pace_s - self._pace_s)


def _hand_over(results: list[tuple[_Job, Results]]) -> None:
    def put() -> None:
        for job, result in results:
            job.results.put_nowait(result)

    if results:
        results[0][0].loop.call_soon_threadsafe(put)
