"""From a folder of the zoo to a model that is ready to run."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from server.batching import Batcher, BatchTimes
from server.config import ServeConfig
from server.tally import Tally
from zoo.card import Card
from zoo.catalog import Entry
from zoo.errors import GanagerieError
from zoo.generator import Generator, load_generator
from zoo.runtime import CPU

# A whole batch would be as warm, and 25 MB more to hold for the two bundled models (docs/log.md).
WARM_IMAGES: Final = 8


@dataclass(frozen=True, eq=False)
class Resident:
    """A model in memory, its batcher, and what it has done so far."""

    card: Card
    generator: Generator
    batcher: Batcher
    tally: Tally


class Loader:
    """Brings models into memory.

    Args:
        config: the server's settings.
        observe: told about every batch, from a runner's thread.
    """

    def __init__(self, config: ServeConfig, observe: Callable[[Card, BatchTimes], None]) -> None:
        self._config = config
        self._observe = observe

    def load(self, entry: Entry) -> Resident:
        """A model that has made a batch, so that its first request is no slower.

        Blocks; meant for a thread, one at a time: opening a session holds the GIL for long.

        Raises:
            Exception: whatever a broken model comes to.
        """
        generator = load_generator(entry, self._config.device)
        n = min(WARM_IMAGES, self._config.max_batch)
        mixtures = [((0, 1.0),)] * n if entry.card.classes else None
        generator.generate(range(n), [None] * n, mixtures)
        return self._settle(entry.card, generator)

    def _settle(self, card: Card, generator: Generator) -> Resident:
        config, tally = self._config, Tally()

        def observe(times: BatchTimes) -> None:
            tally.batch(times)
            self._observe(card, times)

        batcher = Batcher(
            generator,
            # One stream of batches keeps a GPU busy; a CPU wants one a core.
            runners=config.runners if generator.provider == CPU else 1,
            max_batch=config.max_batch,
            max_queue_images=config.max_queue_images,
            observe=observe,
        )
        return Resident(card, generator, batcher, tally)


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
