"""Fetching a model into a zoo: checked before it is put in place, and put in place at once.

A download lies in `ZOO/.pull-DIGITS/`, named by the first 16 digits of its sha256, which a catalog
passes over, until it is complete and all checks have passed; then that folder gets its name. One
that broke off is gone on with.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from ganagerie.errors import HubError
from ganagerie.hub.source import RangeRefused, Source
from zoo.card import CARD, Card
from zoo.catalog import Catalog, Entry
from zoo.errors import ArtifactError
from zoo.generator import load_generator
from zoo.runtime import load_runtime

MAX_CARD_BYTES = 4 * 1024 * 1024
MAX_ARTIFACT_BYTES = 2 * 1024**3  # what one ONNX file can have


def pull(
    source: Source,
    zoo: Path,
    *,
    max_bytes: int = MAX_ARTIFACT_BYTES,
    progress: Callable[[int, int | None], object] = lambda *_: None,
) -> tuple[Card, Path, bool]:
    """Fetches the model in `source`; returns its card, its folder, and whether it is new.

    Args:
        source: a folder with a card.json and the ONNX file that it names.
        zoo: made if missing.
        max_bytes: of the ONNX file.
        progress: told how many bytes are there, of how many, if that is known.

    Raises:
        HubError: it is not there, not what its card says, or too large; or the zoo has another
            model of that name and version.
        BackendError: onnxruntime is not installed, which has to load the model.
    """
    load_runtime()
    card = _card(source)
    zoo.mkdir(parents=True, exist_ok=True)
    there = _in_zoo(zoo, card)
    if there is not None:
        return card, there, False
    staging = zoo / f".pull-{card.artifact.sha256[:16]}"
    with _held(staging) as descriptor:
        there = _in_zoo(zoo, card)  # another pull may have ended meanwhile
        if there is not None:
            return card, there, False
        part = staging / f"{card.artifact.file}.part"
        _fetch(source, card, part, max_bytes, progress)
        try:
            _check(source, card, part)
            part.replace(staging / card.artifact.file)
            _write(staging / CARD, card.to_json())
            load_generator(Entry(staging, card), "cpu")
        except HubError:
            shutil.rmtree(staging)
            raise
        except ArtifactError as error:
            shutil.rmtree(staging)
            text = str(error).replace(f"{staging}{os.sep}", "")
            raise HubError(f"{source.url}: {text}") from error
        os.fsync(descriptor)  # what gets a name is on the disk
        target = zoo / card.reference
        staging.rename(target)
    return card, target, True


def _card(source: Source) -> Card:
    text = source.read(CARD, MAX_CARD_BYTES)
    try:
        return Card.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"])) or "card"
        raise HubError(f"{source.url}/{CARD}: is no card: {at}: {first['msg']}") from error


def _in_zoo(zoo: Path, card: Card) -> Path | None:
    for entry in Catalog.open(zoo).entries:
        if entry.card.reference == card.reference:
            if entry.card.artifact.sha256 == card.artifact.sha256:
                return entry.folder
            raise HubError(
                f"{entry.folder}: is another {card.reference}, of sha256 "
                f"{entry.card.artifact.sha256[:16]}…, not {card.artifact.sha256[:16]}…; move it "
                "away, or name another --zoo"
            )
    target = zoo / card.reference
    if target.exists():
        raise HubError(f"{target}: is there, and is no model; move it away")
    return None


@contextmanager
def _held(staging: Path) -> Iterator[int]:
    """Makes the folder, and keeps other pulls of the same model out; its descriptor."""
    staging.mkdir(exist_ok=True)
    descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HubError(
                f"{staging}: another pull is fetching this model; wait for it"
            ) from error
        if not _is_open(staging, descriptor):  # it had its new name before it was locked
            raise HubError(
                f"{staging}: another pull of this model has just ended; the same command says how"
            )
        try:
            yield descriptor
        finally:
            # What was fetched is kept, and has its name by now if it is whole.
            if _is_open(staging, descriptor):
                with suppress(OSError):
                    staging.rmdir()
    finally:
        os.close(descriptor)


def _is_open(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _fetch(
    source: Source,
    card: Card,
    part: Path,
    max_bytes: int,
    progress: Callable[[int, int | None], object],
) -> None:
    name = card.artifact.file
    size = source.size(name)
    if size is not None and size > max_bytes:
        part.unlink(missing_ok=True)
        raise HubError(
            f"{source.url}/{name}: has {size:,} bytes, more than {max_bytes:,} (--max-bytes)"
        )
    start = part.stat().st_size if part.exists() else 0
    if start and start == size:
        return
    if size is not None and start > size:
        start = 0
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)

        def write(content: bytes) -> None:
            file.write(content)
            progress(file.tell(), size)

        progress(start, size)
        try:
            source.copy(name, start, max_bytes, write)
        except RangeRefused:
            file.seek(0)
            file.truncate()
            source.copy(name, 0, max_bytes, write)
        file.flush()
        os.fsync(file.fileno())
        got = file.tell()
    if size is not None and got != size:
        raise HubError(
            f"{source.url}/{name}: broke off after {got:,} of {size:,} bytes; the same command "
            "goes on from there"
        )


def _check(source: Source, card: Card, part: Path) -> None:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != card.artifact.sha256:
        raise HubError(
            f"{source.url}/{card.artifact.file}: sha256 is {digest}, the card says "
            f"{card.artifact.sha256}: it was altered, or the card is of another file"
        )
