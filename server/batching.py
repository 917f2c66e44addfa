"""The batcher: images that wait, from any number of requests, go through the generator together.

Work is queued as images. Whenever a runner is free it takes what waits, up to the largest batch,
and leaves the other free runners their share: a lone request is spread over the cores, a crowd
fills whole batches, and nobody is made to wait for company. Requests take turns, a few images
each, so a large one does not hold up a small one.

A runner does everything for its batch in one thread: latents, the network, the encoding. Results
reach the event loop in one hand-over a batch.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from server.errors import NotReady, QueueFull
from server.requests import FinishedImage, Plan
from zoo.generator import Generator, Mixture
from zoo.latents import Truncation, latents

_TURN = 16  # images that one request puts into a batch before the next one has its turn


@dataclass(frozen=True)
class BatchTimes:
    """What one batch cost.

    Attributes:
        images: how many.
        taken_s: when a runner took them, by `time.perf_counter`.
        queue_s: how long its oldest image had waited.
        compute_s: latents and network.
        encode_s: pixels to bytes.
    """

    images: int
    taken_s: float
    queue_s: float
    compute_s: float
    encode_s: float


@dataclass(eq=False)
class _Job:
    """A request on its way: `next` is its first image that no runner has taken."""

    plan: Plan
    loop: asyncio.AbstractEventLoop
    results: asyncio.Queue[tuple[list[FinishedImage], BatchTimes] | Exception]
    submitted_s: float = field(default_factory=time.perf_counter)
    next: int = 0
    cancelled: bool = False

    @property
    def left(self) -> int:
        return self.plan.count - self.next


class Batcher:
    """Runs one model for many requests, all of them on one event loop.

    Args:
        generator: makes the images; called from several threads at once.
        runners: how many threads.
        max_batch: most images in a batch.
        max_queue_images: most images waiting; a request that would exceed it is refused.
        observe: told about every batch, from a runner's thread.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        runners: int,
        max_batch: int,
        max_queue_images: int,
        observe: Callable[[BatchTimes], None] = lambda _: None,
    ) -> None:
        self._generator = generator
        self._max_batch = max_batch
        self._max_queue_images = max_queue_images
        self._observe = observe
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._waiting = 0  # images of all jobs that no runner has taken
        self._idle = 0  # runners that wait for work
        self._closed = False
        name = f"runner-{generator.card.name}"
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{i}", daemon=True)
            for i in range(runners)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def runners(self) -> int:
        """Threads that compute."""
        return len(self._threads)

    @property
    def waiting(self) -> int:
        """Images that wait for a runner."""
        return self._waiting

    @property
    def oldest_s(self) -> float:
        """How long the request that has waited longest has images waiting, seconds; 0: none has."""
        with self._changed:
            submitted_s = min((job.submitted_s for job in self._jobs), default=None)
        return 0.0 if submitted_s is None else time.perf_counter() - submitted_s

    async def images(
        self, plan: Plan, observe: Callable[[int, BatchTimes], None] | None = None
    ) -> AsyncGenerator[list[FinishedImage]]:
        """The images of a plan, some at a time, in order of completion.

        Leaving the iteration early, by a break or a cancellation, drops what has not been computed.

        Args:
            plan: what to make.
            observe: told how many of its images came out of which batch, before they are yielded.

        Raises:
            QueueFull: too many images wait already.
            NotReady: the batcher is closed.
        """
        job = _Job(plan, asyncio.get_running_loop(), asyncio.Queue())
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
        finally:
            self._cancel(job)

    def close(self) -> None:
        """Lets the runners finish what was submitted, and waits for them."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _submit(self, job: _Job) -> None:
        with self._changed:
            if self._closed:
                raise NotReady("the server is stopping")
            if self._waiting + job.left > self._max_queue_images:
                raise QueueFull(
                    f"{self._waiting} images wait for {self._generator.card.name}, {job.left} more "
                    f"would exceed {self._max_queue_images}; try again later"
                )
            self._jobs.append(job)
            self._waiting += job.left
            self._changed.notify(min(job.left, len(self._threads)))

    def _cancel(self, job: _Job) -> None:
        with self._changed:
            if job.left:
                self._waiting -= job.left
                job.next = job.plan.count
                self._jobs.remove(job)
            job.cancelled = True

    def _run(self) -> None:
        while batch := self._take():
            try:
                results = self._compute(batch)
            except Exception as error:  # noqa: BLE001  whatever it is, its requests must hear of it
                results = [(job, error) for job, _ in batch]
            _hand_over(results)

    def _take(self) -> list[tuple[_Job, range]]:
        """Waits for work; returns which images of which jobs to make, or nothing when closed."""
        with self._changed:
            self._idle += 1
            while not self._waiting and not self._closed:
                self._changed.wait()
            room = min(self._max_batch, -(-self._waiting // self._idle))
            self._idle -= 1
            batch = []
            while room and self._jobs:
                job = self._jobs.popleft()
                n = min(room, job.left, _TURN)
                batch.append((job, range(job.next, job.next + n)))
                job.next += n
                room -= n
                self._waiting -= n
                if job.left:
                    self._jobs.append(job)
            return batch

    def _compute(self, batch: list[tuple[_Job, range]]) -> Results:
        taken_s = time.perf_counter()
        seeds: list[int] = []
        truncations: list[Truncation | None] = []
        mixtures: list[Mixture] = []
        given: list[tuple[int, NDArray[np.float32]]] = []  # latents of requests that bring them
        for job, indices in batch:
            plan, part = job.plan, slice(indices.start, indices.stop)
            if plan.z is not None:
                given.append((len(seeds), plan.z[part]))
            seeds += plan.seeds[part]
            alike = len(plan.truncations) == 1
            truncations += plan.truncations * len(indices) if alike else plan.truncations[part]
            mixtures += filter(None, map(plan.mixture, indices))
        if given:
            z = latents(seeds, truncations, self._generator.card.latent.dim)
            for start, rows in given:
                z[start : start + len(rows)] = rows
            pixels = self._generator.generate_from(z, truncations, mixtures or None)
        else:
            pixels = self._generator.generate(seeds, truncations, mixtures or None)
        computed_s = time.perf_counter()
        encoded = []
        made = iter(pixels)
        for job, indices in batch:
            images = list(islice(made, len(indices)))
            if not job.cancelled:
                encoded.append((job, _encode(job.plan, indices, images)))
        times = BatchTimes(
            images=len(seeds),
            taken_s=taken_s,
            queue_s=taken_s - min(job.submitted_s for job, _ in batch),
            compute_s=computed_s - taken_s,
            encode_s=time.perf_counter() - computed_s,
        )
        self._observe(times)
        return [(job, (images, times)) for job, images in encoded]


def _encode(plan: Plan, indices: range, images: Iterable[NDArray[np.uint8]]) -> list[FinishedImage]:
    encode, mixture, seeds = plan.encoding.encode, plan.mixture, plan.seeds
    return [
        FinishedImage(i, seeds[i], mixture(i), encode(image))
        for i, image in zip(indices, images, strict=True)
    ]


Results = list[tuple[_Job, tuple[list[FinishedImage], BatchTimes] | Exception]]


def _hand_over(results: Results) -> None:
    def put() -> None:
        for job, result in results:
            job.results.put_nowait(result)

    if results:
        results[0][0].loop.call_soon_threadsafe(put)
