"""What one loaded model has done so far, for those who ask the server itself."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from server.batch import BatchTimes


@dataclass
class Sum:
    """How often something happened, and the seconds it took in all."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Once more."""
        self.count += 1
        self.seconds += seconds


@dataclass
class BatchSums:
    """Of batches."""

    queue: Sum = field(default_factory=Sum)
    compute: Sum = field(default_factory=Sum)
    encode: Sum = field(default_factory=Sum)


class Tally:
    """The counts of one model since it was loaded.

    Attributes:
        succeeded: requests that got all their images.
        failed: requests that were refused by a full queue, cancelled, or failed.
        last_batch_s: when the last batch ended, in seconds since 1970; 0: there was none.
        running: requests that are being answered now.
    """

    def __init__(self) -> None:
        self.running = 0
        self._awaited: asyncio.Event | None = None
        self.succeeded = Sum()
        self.failed = Sum()
        self.last_batch_s = 0.0
        self._by_size: defaultdict[int, BatchSums] = defaultdict(BatchSums)
        self._lock = threading.Lock()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts what happens inside as one request; of one event loop."""
        started_s = time.perf_counter()
        ended = self.failed
        self.running += 1
        try:
            yield
            ended = self.succeeded
        finally:
            ended.add(time.perf_counter() - started_s)
            self.running -= 1
            if not self.running and self._awaited:
                self._awaited.set()

    async def idle(self) -> None:
        """Returns once no request is running."""
        while self.running:
            if self._awaited is None or self._awaited.is_set():
                self._awaited = asyncio.Event()
            await self._awaited.wait()

    def batch(self, times: BatchTimes) -> None:
        """Counts one computed batch; thread-safe."""
        with self._lock:
            sums = self._by_size[times.images]
            sums.queue.add(times.queue_s)
            sums.compute.add(times.compute_s)
            sums.encode.add(times.encode_s)
            self.last_batch_s = time.time()

    def batches(self) -> dict[int, BatchSums]:
        """Sums by the number of images in a batch, smallest first: a copy."""
        with self._lock:
            return {
                size: BatchSums(*(Sum(s.count, s.seconds) for s in (b.queue, b.compute, b.encode)))
                for size, b in sorted(self._by_size.items())
            }
