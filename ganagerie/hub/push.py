"""Putting a model into a folder elsewhere: its ONNX file first, so that a card is never alone.

Where it replaces another, that one's card goes before: what breaks off leaves no card, rather than
one beside a file that is not its own.
"""

from __future__ import annotations

from ganagerie.errors import HubError
from ganagerie.hub.source import Source
from zoo.artifact import read_artifact
from zoo.card import CARD
from zoo.catalog import Entry


def push(entry: Entry, target: Source, *, replace: bool = False) -> bool:
    """Copies a model; returns whether there was anything to do.

    Args:
        entry: the model; its checksum is verified first.
        target: a folder to write to, made if missing.
        replace: whether another model may be overwritten.

    Raises:
        ArtifactError: the model's file is missing or altered.
        HubError: there is another model, or the other side does not take it.
    """
    content, text = read_artifact(entry.folder, entry.card.artifact), entry.card.to_json().encode()
    if target.has(CARD):
        if target.read(CARD, max(len(text), 4 * 1024 * 1024)) == text:
            return False
        if not replace:
            raise HubError(
                f"{target.url}/{CARD}: is there already and says something else; push elsewhere, "
                "or with --replace"
            )
        target.remove(CARD)
    name = entry.card.artifact.file
    target.write(name, content)
    size = target.size(name)
    if size is not None and size != len(content):
        raise HubError(f"{target.url}/{name}: has {size:,} bytes now, not {len(content):,}")
    target.write(CARD, text)
    return True
