"""The settings of a set, kept beside it: what the same command goes on with."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from ganagerie.errors import OutputError
from ganagerie.sampling.job import Job


@contextmanager
def hold(path: Path, job: Job, output: str) -> Iterator[None]:
    """Writes the record where there is none, and keeps other runs out while entered.

    Args:
        path: of the record.
        job: what is asked for now.
        output: the set as a person named it.

    Raises:
        OutputError: the record is of another job, is no record, or another run holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"{output}: another run is writing it; wait for it") from error
        text = file.read()
        # A run that ended between making the file and writing it left nothing to go on with.
        if text:
            _require_same(path, text, job, output)
        else:
            file.write(job.model_dump_json(indent=2) + "\n")
            file.flush()
        yield


def _require_same(path: Path, text: str, job: Job, output: str) -> None:
    try:
        then = Job.model_validate_json(text)
    except ValidationError as error:
        raise OutputError(
            f"{path}: is not the record of a set; name another output, or move it away"
        ) from error
    for name in Job.model_fields:
        was, now = getattr(then, name), getattr(job, name)
        if was != now:
            raise OutputError(
                f"{output}: was begun with {name.replace('_', ' ')} {was!r}, not {now!r}; go on "
                f"with the settings in {path}, or name another output"
            )
