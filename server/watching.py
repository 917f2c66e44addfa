"""The zoo folder, followed while the server runs: models that come, change and go."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Final

import structlog

from server.errors import NoRoom
from server.residency import Residency
from server.roster import Model, State
from zoo.catalog import Catalog
from zoo.errors import ZooError

_log = structlog.get_logger()

# A load may hold up the requests of a busy model for as long as it waits for room, so not at once.
RETRY_S: Final = 60.0

_Signature = tuple[tuple[str, int, int, int], ...]


class ZooWatcher:
    """Tells the residency what has changed in the zoo folder since the server read it.

    A change of a model's folder counts once the folder has been the same for an interval. Whatever
    lies there then, a model in memory stays until another is ready in its place, or until its
    folder is gone.

    Args:
        zoo: the folder; it is looked at now, so make this before the catalog is read.
        residency: the models.
    """

    def __init__(self, zoo: Path, residency: Residency) -> None:
        self._zoo = zoo
        self._residency = residency
        self._looking = asyncio.Lock()
        self._lost = ""  # why the zoo folder cannot be read, if it cannot
        self._followed: dict[Path, _Signature] = {}
        with contextlib.suppress(OSError):  # the catalog says it better
            self._followed = _signatures(zoo)
        self._seen = self._followed
        self._put_off: dict[Path, tuple[_Signature, float]] = {}  # and when to try again

    async def watch(self, interval_s: float) -> None:
        """Looks at the folder now and then, until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            await self.look(settled=True)

    async def look(self, *, settled: bool = False) -> None:
        """Follows what has changed.

        Args:
            settled: only what was the same at the last look. Else also what has failed is tried
                again.
        """
        async with self._looking:
            try:
                found = await asyncio.to_thread(_signatures, self._zoo)
                before, self._seen = self._seen, found
                changed = {
                    folder
                    for folder in found.keys() | self._followed.keys()
                    if found.get(folder) != self._followed.get(folder)
                    and not (settled and found.get(folder) != before.get(folder))
                    and not (settled and self._is_put_off(folder, found.get(folder)))
                }
                if not settled:
                    changed |= {m.folder for m in self._residency.roster if m.state is State.FAILED}
                if changed:
                    no_room = await self._follow(changed)
                    again_s = time.monotonic() + RETRY_S
                    done = changed - no_room
                    self._put_off = {f: s for f, s in self._put_off.items() if f not in done}
                    self._put_off |= {f: (found.get(f, ()), again_s) for f in no_room}
                    rest = {f: s for f, s in self._followed.items() if f not in done}
                    self._followed = rest | {f: found[f] for f in done & found.keys()}
                self._lost = ""
            except (OSError, ZooError) as error:
                if str(error) != self._lost:
                    _log.error("zoo folder lost, its models stay", reason=str(error))
                self._lost = str(error)
            except Exception as error:  # noqa: BLE001  the next look may fare better
                _log.error("zoo folder not followed", exc_info=error)

    def _is_put_off(self, folder: Path, signature: _Signature | None) -> bool:
        """Whether there was no room for just that, a short while ago."""
        refused, again_s = self._put_off.get(folder, (None, 0.0))
        return signature == refused and time.monotonic() < again_s

    async def _follow(self, changed: set[Path]) -> set[Path]:
        """Makes the changes; returns the folders whose models found no room."""
        no_room = set()
        catalog = await asyncio.to_thread(Catalog.open, self._zoo)
        roster = self._residency.roster
        for entry in catalog.entries:
            model = roster.get(entry.card.reference)
            if entry.folder in changed and not (model and model.state is State.UNLOADED):
                try:
                    await self._residency.enter(entry)
                except NoRoom:
                    no_room.add(entry.folder)
        for folder, why in catalog.broken.items():
            if folder in changed:
                self._residency.fail(folder, why)
        entries = {entry.card.reference for entry in catalog.entries}
        for model in roster:
            if model.reference not in entries and self._is_gone(model, catalog):
                await self._residency.forget(model)
        return no_room

    def _is_gone(self, model: Model, catalog: Catalog) -> bool:
        """Whether a model that the catalog lacks is no more: not if its folder is being written."""
        if model.folder in catalog.broken:
            return False
        inside = [entry.card.reference for entry in catalog.entries if entry.folder == model.folder]
        if not inside or model.card is None:
            return True
        new = self._residency.roster.get(inside[0])  # None: there was no room for it
        return new is not None and new.state is not State.FAILED


def _signatures(zoo: Path) -> dict[Path, _Signature]:
    """What tells one state of each model's folder from another."""
    folders = [f for f in zoo.iterdir() if f.is_dir() and f.name[0] not in "._"]
    return {folder: _signature(folder) for folder in folders}


def _signature(folder: Path) -> _Signature:
    try:
        with os.scandir(folder) as files:
            found = [(file.name, file.stat()) for file in files]
    except OSError:  # it is just being removed
        return ()
    return tuple(sorted((name, s.st_ino, s.st_mtime_ns, s.st_size) for name, s in found))
