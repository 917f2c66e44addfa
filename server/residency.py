"""Which models are in memory, ready to run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from server.batching import Batcher, BatchTimes
from server.config import ServeConfig
from server.errors import ModelUnavailable, NotReady
from server.tally import Tally
from zoo.card import Card, parse_reference
from zoo.catalog import Catalog, not_found
from zoo.errors import GanagerieError
from zoo.generator import Generator, load_generator
from zoo.runtime import CPU


@dataclass(frozen=True)
class Resident:
    """A loaded model, its batcher, and what it has done so far."""

    card: Card
    generator: Generator
    batcher: Batcher
    tally: Tally


class Residency:
    """The models that a server answers for.

    Attributes:
        models: loaded, by reference, in the catalog's order: by name, newest version first.
        failed: models that could not be loaded, with the reason; the others are not affected.
        ready: whether `load` has finished.
        on_load: told of each attempt to load a model: reference, seconds, and whether it worked.
    """

    def __init__(self, config: ServeConfig, observe: Callable[[Card, BatchTimes], None]) -> None:
        self.models: dict[str, Resident] = {}
        self.failed: dict[str, str] = {}
        self.ready = False
        self.on_load: Callable[[str, float, bool], None] = lambda *_: None
        self._references: list[str] = []  # loaded or failed, in the catalog's order
        self._config = config
        self._observe = observe

    def load(self, catalog: Catalog) -> None:
        """Loads every model and makes one image with each, so that the first request is no slower.

        Blocks; meant for a thread. A model that fails goes to `failed`.
        """
        for entry in catalog.entries:
            reference = entry.card.reference
            self._references.append(reference)
            started_s = time.perf_counter()
            try:
                generator = load_generator(entry, self._config.device)
                mixture = [((0, 1.0),)] if entry.card.classes else None
                generator.generate([0], [None], mixture)
            except Exception as error:  # noqa: BLE001  one broken model must not stop the others
                reason = str(error) if isinstance(error, GanagerieError) else repr(error)
                self._fail(reference, entry.folder, reason)
            else:
                self.models[reference] = self._settle(entry.card, generator)
            self.on_load(reference, time.perf_counter() - started_s, reference in self.models)
        for folder, reason in catalog.broken.items():
            self._references.append(folder.name)
            self._fail(folder.name, folder, reason)
        self.ready = True

    def _fail(self, reference: str, folder: Path, reason: str) -> None:
        # Clients read the reason: where the zoo lies on this machine is none of their business.
        self.failed[reference] = reason.replace(f"{folder}{os.sep}", "").replace(str(folder), "it")

    def resolve(self, reference: str) -> Resident:
        """The loaded model called `name` (its newest version) or `name@version`.

        Raises:
            ModelNotFound: lists what there is.
            ModelUnavailable: it is in the zoo but could not be loaded.
            NotReady: models are still being loaded.
        """
        self._require_ready()
        for known in self._references:
            if reference not in {known, parse_reference(known)[0]}:
                continue
            if known in self.failed:
                raise ModelUnavailable(
                    f"{known} is in the zoo but could not be loaded: {self.failed[known]}"
                )
            return self.models[known]
        raise not_found(reference, list(self.models))

    def cards(self) -> list[Card]:
        """Cards of all loaded models.

        Raises:
            NotReady: models are still being loaded.
        """
        self._require_ready()
        return [resident.card for resident in self.models.values()]

    def index(self) -> dict[str, str | None]:
        """All models by reference, in the catalog's order; those that failed with the reason.

        Raises:
            NotReady: models are still being loaded.
        """
        self._require_ready()
        return {reference: self.failed.get(reference) for reference in self._references}

    def loaded(self) -> list[Resident]:
        """What has been loaded so far; safe while `load` runs in another thread."""
        return list(self.models.values())

    def close(self) -> None:
        """Lets every batcher finish."""
        for resident in self.models.values():
            resident.batcher.close()

    def _require_ready(self) -> None:
        if not self.ready:
            raise NotReady("the server is starting: models are being loaded")

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
