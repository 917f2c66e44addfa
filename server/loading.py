"""From a folder of the zoo to a model that is ready to run, and back to nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from server import memory
from server.batch import BatchTimes
from server.batching import Batcher
from server.config import ServeConfig
from server.image_cache import ImageCache
from server.requests import FinishedImage, Plan
from server.tally import Tally
from server.telemetry.calls import Observer
from server.warm_up import warm_up
from zoo.card import Card
from zoo.catalog import Entry
from zoo.errors import GanagerieError
from zoo.generator import Generator, load_generator


@dataclass(frozen=True, eq=False)
class Resident:
    """A model in memory, its batcher, and what it has done so far.

    Whoever has one from `Residency.resolve` enters `tally.request()` before awaiting anything: that
    keeps it in memory.
    """

    card: Card
    generator: Generator
    batcher: Batcher
    tally: Tally
    cache: ImageCache | None = None

    def images(
        self,
        plan: Plan,
        observe: Observer | None = None,
        *,
        streamed: bool = False,
    ) -> AsyncGenerator[list[FinishedImage]]:
        """As `Batcher.images`, from the cache where there is one; latents are not looked up."""
        if self.cache is None or plan.z is not None:
            return self.batcher.images(plan, observe, streamed=streamed)
        return self.cache.images(self.batcher, plan, observe, streamed=streamed)


class Loader:
    """Brings models into memory, all in one thread.

    Opening a session holds the GIL for long and is no thing to do twice at once; and what the C
    library keeps of freed memory it keeps for each thread.

    Args:
        config: the server's settings.
        observe: told about every batch, from a runner's thread.
    """

    def __init__(self, config: ServeConfig, observe: Callable[[Card, BatchTimes], None]) -> None:
        self._config = config
        self._observe = observe
        self._thread = ThreadPoolExecutor(1, "loader")

    async def load(self, entry: Entry) -> Resident:
        """A model that has made a batch, so that its first request is no slower.

        Raises:
            Exception: whatever a broken model comes to.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._load, entry)

    async def give_back_memory(self) -> None:
        """Returns freed memory to the system, where the C library can."""
        await asyncio.get_running_loop().run_in_executor(self._thread, memory.return_freed)

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False)

    def _load(self, entry: Entry) -> Resident:
        config = self._config
        generator = load_generator(
            entry, config.device, config.runners, config.gpu_numbers, config.tf32
        )
        image_s = warm_up(generator, config.max_batch, config.max_batch_ms / 1e3)
        return self._settle(entry.card, generator, image_s)

    def _settle(self, card: Card, generator: Generator, image_s: float) -> Resident:
        config, tally = self._config, Tally()

        def observe(times: BatchTimes) -> None:
            tally.batch(times)
            self._observe(card, times)

        batcher = Batcher(
            generator,
            max_batch=config.max_batch,
            max_batch_s=config.max_batch_ms / 1e3,
            image_s=image_s,
            max_queue_images=config.max_queue_images,
            max_queue_bytes=config.max_queue_bytes,
            max_queue_delay_s=config.max_queue_delay_ms / 1e3,
            observe=observe,
        )
        cache = ImageCache(config.cache_bytes) if config.cache_bytes else None
        return Resident(card, generator, batcher, tally, cache)


def artifact_bytes(entry: Entry) -> int:
    """Size of a model's file, which is what limits count; 0 where there is none."""
    try:
        return (entry.folder / entry.card.artifact.file).stat().st_size
    except OSError:
        return 0  # loading it will say what is wrong


def reason(error: Exception, entry: Entry) -> str:
    """Why a model could not be loaded, as clients may read it.

    Where the zoo lies on this machine is none of their business.
    """
    text = str(error) if isinstance(error, GanagerieError) else repr(error)
    return without_folder(text, entry.folder)


def without_folder(text: str, folder: os.PathLike[str]) -> str:
    """A text about what is in a folder, without the path to it."""
    return text.replace(f"{folder}{os.sep}", "").replace(str(folder), "it")
