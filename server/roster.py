"""Which models a server answers for, in which state each is, and what they are called."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from server.errors import ModelUnavailable, NotReady
from server.loading import Resident
from zoo.card import Card, parse_reference, version_key
from zoo.catalog import not_found
from zoo.errors import ZooError

UNLOADED: Final = "unloaded, until an administrator loads it again"


class State(Enum):
    """Of a model of the zoo; `server/residency.py` draws how one becomes another."""

    COLD = "in the zoo, and loaded when somebody asks for it"
    LOADED = "in memory"
    FAILED = "could not be loaded"
    UNLOADED = "taken out by an administrator"


@dataclass(eq=False)
class Model:
    """One model of the zoo.

    Attributes:
        reference: `name@version`; of a folder whose card cannot be used, the folder's name.
        folder: where it lies.
        card: as it was when it was loaded last, or found; None if it cannot be used.
        offered: whether its name without a version may mean it. A version that came while the
            server ran is offered once it has been loaded: a broken one takes nobody's place.
        reason: why it FAILED; beside LOADED, why it could not be loaded anew.
        resident: set if and only if it is LOADED.
        size: bytes of the resident's file.
        used: the model with the smallest was used least recently.
        leaving: its place in memory is wanted, so it takes no new requests.
        arrival: the load that requests wait for, where it is COLD or leaving.
        waiting: how many do.
    """

    reference: str
    folder: Path
    card: Card | None = None
    state: State = State.COLD
    offered: bool = True
    reason: str = ""
    resident: Resident | None = None
    size: int = 0
    used: int = 0
    leaving: bool = False
    arrival: asyncio.Task[None] | None = None
    waiting: int = 0


class Roster:
    """The models by name: sorted by name, newest version first, then folders without a card.

    Attributes:
        ready: whether it is complete: not while the server starts.
    """

    def __init__(self) -> None:
        self.ready = False
        self._models: dict[str, Model] = {}
        self._called: dict[str, Model] = {}  # by all that a request may call them

    def __iter__(self) -> Iterator[Model]:
        return iter(list(self._models.values()))

    def get(self, reference: str) -> Model | None:
        """The model with exactly this reference."""
        return self._models.get(reference)

    def lying_in(self, folder: Path) -> list[Model]:
        """The models whose folder that is: several where it has held other versions before."""
        return [model for model in self if model.folder == folder]

    def all(self) -> list[Model]:
        """Every model.

        Raises:
            NotReady: models are still being loaded.
        """
        self.require_ready()
        return list(self)

    def add(self, model: Model) -> Model:
        """Takes a model in; to be called again when its card, or whether it is offered, changes."""
        self._models[model.reference] = model
        self._rename()
        return model

    def remove(self, model: Model) -> None:
        """Forgets a model."""
        del self._models[model.reference]
        self._rename()

    def called(self, reference: str) -> Model:
        """The model called `name` (its newest version that is offered) or `name@version`.

        Raises:
            ModelNotFound: lists what there is.
            NotReady: models are still being loaded.
        """
        self.require_ready()
        model = self._called.get(reference)
        if model is None:
            raise not_found(reference, [card.reference for card in self.cards()])
        return model

    def find(self, reference: str) -> Model:
        """As `called`, if it answers requests.

        Raises:
            ModelUnavailable: it could not be loaded, or was unloaded.
        """
        model = self.called(reference)
        if model.state is State.FAILED:
            raise ModelUnavailable(
                f"{model.reference} is in the zoo but could not be loaded: {model.reason}"
            )
        if model.state is State.UNLOADED:
            raise ModelUnavailable(f"{model.reference} is {UNLOADED}")
        return model

    def card(self, reference: str) -> Card:
        """The card of a model that answers requests; raises as `find` does."""
        card = self.find(reference).card
        assert card is not None  # noqa: S101  only a FAILED model has none
        return card

    def cards(self) -> list[Card]:
        """Of all models that answer requests, whether in memory or on demand.

        Raises:
            NotReady: models are still being loaded.
        """
        self.require_ready()
        answer = {State.LOADED, State.COLD}
        return [model.card for model in self if model.card and model.state in answer]

    def index(self) -> dict[str, str | None]:
        """All models by reference; those that do not answer with the reason.

        Raises:
            NotReady: models are still being loaded.
        """
        self.require_ready()
        reasons: dict[str, str | None] = {}
        for model in self:
            failed, unloaded = (model.state is state for state in (State.FAILED, State.UNLOADED))
            reasons[model.reference] = model.reason if failed else UNLOADED if unloaded else None
        return reasons

    def require_models(self, zoo: Path) -> None:
        """Raises ZooError, with all reasons, if no model of the zoo answers requests."""
        if not self.cards():
            reasons = "; ".join(f"{model}: {why}" for model, why in self.index().items())
            raise ZooError(f"nothing to serve: {reasons or f'{zoo} holds no models'}")

    def require_ready(self) -> None:
        """Raises NotReady while models are still being loaded."""
        if not self.ready:
            raise NotReady("the server is starting: models are being loaded")

    def _rename(self) -> None:
        self._models = dict(sorted(self._models.items(), key=lambda item: _order(item[1])))
        self._called = {}
        for model in self:
            for name in (model.reference, parse_reference(model.reference)[0]):
                held = self._called.setdefault(name, model)
                if model.offered and not held.offered and name != held.reference:
                    self._called[name] = model


def _order(model: Model) -> tuple[bool, str, list[int]]:
    name, version = parse_reference(model.reference)
    if model.card is None or version is None:
        return True, model.reference, []
    return False, name, [-part for part in version_key(version)]
