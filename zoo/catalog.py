"""The catalog: which models a zoo folder holds.

A zoo is a folder of folders, one a model: `NAME` or `NAME@VERSION`, with `card.json` in it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from zoo.card import CARD, Card, parse_reference, read_card, version_key
from zoo.errors import CardError, ModelNotFound, ZooError, shown

_LISTED = 20  # models named in an error

BUNDLED = Path(__file__).resolve().parent / "models"


@dataclass(frozen=True)
class Entry:
    """One model and the folder it lies in."""

    folder: Path
    card: Card


class Catalog:
    """The models of a zoo folder, by name and version.

    Attributes:
        entries: by name, then by version, newest first.
        broken: folders whose card cannot be used, with the reason; the others are not affected.
    """

    def __init__(self, entries: list[Entry], broken: dict[Path, str]) -> None:
        ordered = sorted(entries, key=lambda e: version_key(e.card.version), reverse=True)
        self.entries = sorted(ordered, key=lambda e: e.card.name)
        self.broken = broken

    @classmethod
    def open(cls, zoo: Path) -> Catalog:
        """Reads every card below `zoo`; passes over folders that start with a dot or `_`.

        Raises:
            ZooError: `zoo` is not a folder that can be read.
        """
        try:
            folders = sorted(p for p in zoo.iterdir() if p.is_dir() and p.name[0] not in "._")
        except OSError as error:
            raise ZooError(f"zoo {zoo}: cannot be read: {error.strerror}") from error
        entries: dict[str, Entry] = {}
        broken: dict[Path, str] = {}
        for folder in folders:
            try:
                card = read_card(folder / CARD)
                if folder.name not in {card.name, card.reference}:
                    raise CardError(
                        f"{folder}: the card is of {card.reference}, so the folder "
                        f"must be named {card.name} or {card.reference}"
                    )
                if card.reference in entries:
                    other = entries[card.reference].folder.name
                    raise CardError(f"{folder}: {card.reference} lies in {other} already")
            except CardError as error:
                broken[folder] = str(error)
            else:
                entries[card.reference] = Entry(folder, card)
        return cls(list(entries.values()), broken)

    def resolve(self, reference: str) -> Entry:
        """The model called `name` (its newest version) or `name@version`.

        Raises:
            ModelNotFound: lists what there is.
            CardError: it is there, but its card cannot be used.
        """
        name, version = parse_reference(reference)
        for entry in self.entries:
            if entry.card.name == name and version in {None, entry.card.version}:
                return entry
        for folder, reason in self.broken.items():
            if folder.name in {reference, name}:
                raise CardError(reason)
        raise not_found(reference, [entry.card.reference for entry in self.entries])


def not_found(reference: str, known: list[str]) -> ModelNotFound:
    """The error for a model that is not there; `known` are references."""
    names = [*known, *(parse_reference(r)[0] for r in known)]
    near = difflib.get_close_matches(reference[:256], names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    listed = ", ".join(known[:_LISTED]) or "nothing"
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return ModelNotFound(f"no model {shown(reference)}{hint} There is: {listed}{more}")
