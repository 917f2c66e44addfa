"""Which models are in memory, who may use them, and when they leave.

                   a start with room, a load, a request
      COLD ──────────────────────────────────────────────> LOADED ──── unload ───> UNLOADED
        ^──── its place is wanted, its requests are done ─────┘ ^─────── load ─────────┘

A load that fails makes a model FAILED, or leaves it LOADED as it was.

Everything here happens on one event loop, one change at a time; only a load itself is in a thread.
A request takes a `Resident` from `resolve` and is its user within `tally.request()`; nothing is
awaited between the two. So from the moment that a resident has to go it gets no new requests, and
it goes when those it has are finished.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from server.config import ServeConfig
from server.errors import ModelUnavailable, NoRoom
from server.loading import Loader, Resident, artifact_bytes, reason, without_folder
from server.room import Room
from server.roster import Model, Roster, State
from server.turns import Turns
from zoo.catalog import Catalog, Entry
from zoo.errors import CardError, ModelNotFound, ZooError, shown

ROOM_S: Final = 10.0  # how long a load waits for the requests of a model whose place it takes

_log = structlog.get_logger()


class Residency:
    """The memory of a server.

    Attributes:
        roster: all models, in memory or not.
        on_load: told of each attempt to load a model: reference, seconds, and whether it worked.
    """

    def __init__(self, config: ServeConfig, loader: Loader) -> None:
        self.roster = Roster()
        self.on_load: Callable[[str, float, bool], None] = lambda *_: None
        self._config = config
        self._room = Room(config, self.roster)
        self._loader = loader
        self._turns = Turns()
        self._leaving: dict[Resident, asyncio.Task[None]] = {}
        self._uses = itertools.count(1)

    async def start(self, catalog: Catalog) -> None:
        """Loads the models that there is room for, in order; a broken one stops no other."""
        for entry in catalog.entries:
            model = self.roster.add(Model(entry.card.reference, entry.folder, entry.card))
            size = artifact_bytes(entry)
            if self._room.has(model, model.folder, size) or not self._room.could_hold(size):
                await self.enter(entry)
        for folder, why in catalog.broken.items():
            self.fail(folder, why)
        await self._loader.give_back_memory()
        self.roster.ready = True

    async def resolve(self, reference: str) -> Resident:
        """The model called `name` (its newest version) or `name@version`, in memory.

        Waits for one that is not, together with all others who do.

        Raises:
            ModelNotFound: lists what there is.
            ModelUnavailable: it could not be loaded, or was unloaded.
            NoRoom: no other model could leave in its favour.
            NotReady: the server is starting or stopping.
        """
        while True:
            model = self.roster.find(reference)
            if model.resident and not model.leaving:
                model.used = next(self._uses)
                return model.resident
            if model.arrival is None or model.arrival.done():
                model.arrival = self._turns.begin(partial(self._warm, model))
            model.waiting += 1
            try:
                await asyncio.shield(model.arrival)
            finally:
                model.waiting -= 1

    async def load(self, reference: str) -> Model:
        """Loads what the zoo folder now calls `name` or `name@version`, also in place of itself.

        What was loaded before answers until then. The load is finished even if nobody waits.

        Raises:
            ModelNotFound: the folder has no such model; lists what there is.
            ModelUnavailable: it could not be loaded; what was loaded before goes on.
            NoRoom: no other model could leave in its favour.
            NotReady: the server is starting or stopping.
        """
        self.roster.require_ready()
        return await self._turns.make(partial(self._load, reference))

    async def enter(self, entry: Entry) -> None:
        """As `load`, for a model as it has just been found; tells a failure to the log only.

        Raises:
            NoRoom: no other model could leave in its favour; nothing has changed.
            NotReady: the server is stopping.
        """
        with contextlib.suppress(ModelUnavailable):
            await self._turns.make(partial(self._enter, entry))

    async def unload(self, reference: str) -> Model:
        """Takes a model out until it is loaded again; requests that it has are finished.

        Raises:
            ModelNotFound: lists what there is.
            NotReady: the server is starting or stopping.
        """
        model = self.roster.called(reference)
        await self._turns.make(partial(self._unload, model))
        return model

    async def forget(self, model: Model) -> None:
        """As `unload`, for a model that has left the zoo."""
        await self._turns.make(partial(self._unload, model, forget=True))

    def fail(self, folder: Path, why: str) -> None:
        """A card that cannot be used: what was loaded from that folder goes on."""
        for model in self.roster.lying_in(folder) or [Model(folder.name, folder, offered=False)]:
            if model.state is not State.UNLOADED:
                self._failed(model, without_folder(why, folder))

    def loaded(self) -> list[Resident]:
        """What is in memory for requests that come."""
        return [model.resident for model in self.roster if model.resident]

    async def close(self) -> None:
        """Lets every batcher finish; loads that wait are given up."""
        await self._turns.close()
        for task in self._leaving.values():
            task.cancel()
        for resident in [*self.loaded(), *self._leaving]:
            await asyncio.to_thread(resident.batcher.close)
        self._loader.close()

    async def _warm(self, model: Model) -> None:
        if model.state is not State.COLD:
            return  # it came, or was taken out, while this waited
        try:
            await self._load(model.reference)
        except ModelNotFound as error:
            raise self._failed(model, "it is no longer in the zoo folder") from error

    async def _load(self, reference: str) -> Model:
        zoo = self._config.zoo
        text = f"{shown(reference)} could not be loaded: "
        try:
            catalog = await asyncio.to_thread(Catalog.open, zoo)
        except ZooError as error:  # that may pass, and is the fault of no model
            why = str(error).replace(f"zoo {zoo}:", "the zoo folder")
            _log.warning("model not loaded", model=reference, reason=why)
            raise ModelUnavailable(text + why) from error
        try:
            entry = catalog.resolve(reference)
        except CardError as error:
            why = without_folder(str(error), zoo)
            if model := self.roster.get(reference):
                raise self._failed(model, why) from error
            raise ModelUnavailable(text + why) from error
        return await self._enter(entry)

    async def _enter(self, entry: Entry) -> Model:
        card, folder = entry.card, entry.folder
        model = self.roster.get(card.reference) or Model(
            card.reference, folder, card, offered=False
        )
        started_s, size = time.perf_counter(), artifact_bytes(entry)
        try:
            self._room.require(size)
            while not self._room.has(model, folder, size):
                await self._evict(self._room.who_leaves(model, folder), model)
            resident = await self._loader.load(entry)
        except NoRoom as error:
            _log.warning("model not loaded", model=model.reference, reason=str(error))
            raise
        except Exception as error:
            seconds, why = time.perf_counter() - started_s, reason(error, entry)
            for before in self.roster.lying_in(folder):
                if before.resident:  # from there it would not come back, so it has to stay
                    before.reason = why
            raise self._failed(model, why, seconds) from error
        old, model.resident = model.resident, resident
        model.card, model.folder, model.size = card, folder, size
        model.state, model.offered, model.reason = State.LOADED, True, ""
        model.used = next(self._uses)
        self.roster.add(model)
        seconds = time.perf_counter() - started_s
        self.on_load(model.reference, seconds, True)
        if self.roster.ready:
            _log.info("model loaded", model=model.reference, seconds=round(seconds, 3))
        if old:
            self._retire(old)
        self._clear_folder(model)
        return model

    def _clear_folder(self, model: Model) -> None:
        """Clears away what the folder of a model that has been loaded held before it."""
        for before in self.roster.lying_in(model.folder):
            if before.card is None:
                self.roster.remove(before)
            elif before is not model and before.resident:
                before.reason = ""
                if self._room.exceeded():
                    self._retire(before.resident)
                    before.resident, before.state = None, State.COLD
                    _left(before, model)

    def _failed(self, model: Model, why: str, seconds: float = 0.0) -> ModelUnavailable:
        """Takes note of a load that failed, and tells of it; returns the error for who asked."""
        self.on_load(model.reference, seconds, False)
        model.reason = why
        self.roster.add(model)
        text = f"{model.reference} could not be loaded: {why}"
        if model.resident:
            event, text = "model not reloaded", f"{text}; the one loaded before goes on"
        else:
            event, model.state = "model unavailable", State.FAILED
        _log.error(event, model=model.reference, reason=why)
        return ModelUnavailable(text)

    async def _unload(self, model: Model, *, forget: bool = False) -> None:
        if self.roster.get(model.reference) is not model:
            return
        old, model.resident = model.resident, None
        model.state, model.offered, model.reason = State.UNLOADED, False, ""
        if forget:
            self.roster.remove(model)
        else:
            self.roster.add(model)
        _log.info("model removed" if forget else "model unloaded", model=model.reference)
        if old:
            self._retire(old)

    def _retire(self, resident: Resident) -> None:
        async def leave(resident: Resident) -> None:
            await resident.tally.idle()
            await asyncio.to_thread(resident.batcher.close)
            del self._leaving[resident], resident
            await self._loader.give_back_memory()

        task = asyncio.create_task(leave(resident))
        self._leaving[resident] = task

    async def _evict(self, model: Model, coming: Model) -> None:
        """Takes the resident of a model out of memory, once its requests are finished."""
        while model.waiting and model.arrival and model.arrival.done():
            await asyncio.sleep(0)  # those whom its load has just woken come first
        resident = model.resident
        assert resident is not None  # noqa: S101  that is why it was chosen
        model.leaving = True
        try:
            async with asyncio.timeout(ROOM_S):
                await resident.tally.idle()
        except TimeoutError as error:
            raise NoRoom(
                f"{coming.reference} is not in memory, and requests are running on all models that "
                "are; try again later"
            ) from error
        finally:
            model.leaving = False
        model.resident, model.state = None, State.COLD
        _left(model, coming)
        await asyncio.to_thread(resident.batcher.close)
        del resident
        await self._loader.give_back_memory()


def _left(model: Model, coming: Model) -> None:
    _log.info("model left memory", model=model.reference, in_favour_of=coming.reference)
