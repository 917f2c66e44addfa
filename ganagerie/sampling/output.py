"""Where a set goes: its layout by the output's name, and the place of its record."""

from __future__ import annotations

import os
from glob import escape
from pathlib import Path
from typing import Literal

from ganagerie.errors import OutputError
from ganagerie.sampling.archive import Archive
from ganagerie.sampling.folder import Folder
from ganagerie.sampling.job import Job
from ganagerie.sampling.layout import Layout, file_name, folder_name
from ganagerie.sampling.shards import Shards
from server.requests import FinishedImage, Plan
from zoo.card import Card

_RECORD = "sample.json"


def layout_of(output: str) -> Literal["folder", "zip", "shards"]:
    """NAME.zip is one archive, NAME.tar shards, anything else a folder.

    Raises:
        OutputError: it is empty.
    """
    if not output:
        raise OutputError("-o is empty: name a folder, a NAME.zip, or a NAME.tar for shards")
    suffix = "" if output.endswith(("/", os.sep)) else Path(output).suffix.lower()
    return "zip" if suffix == ".zip" else "shards" if suffix == ".tar" else "folder"


def record_of(output: str) -> Path:
    """The path of a set's record, in a folder that is there.

    Raises:
        OutputError: something else lies where the set is to be.
        OSError: the folder cannot be made or read.
    """
    path, layout = Path(output), layout_of(output)
    if layout == "folder":
        path.mkdir(parents=True, exist_ok=True)
        record = path / _RECORD
        others = any(path.iterdir())
    else:
        record = path.with_name(f"{path.name}.json")
        pattern = escape(path.name) if layout == "zip" else f"{escape(path.stem)}-[0-9]*.tar"
        others = any(any(path.parent.glob(pattern + unfinished)) for unfinished in ("", ".part"))
    if others and not record.exists():
        raise OutputError(
            f"{output}: there is something already, and no {record.name} that says what; "
            "name another output"
        )
    return record


def open_layout(output: str, job: Job, plan: Plan, card: Card) -> Layout:
    """The set, ready to be written to.

    Raises:
        OSError: it cannot be.
    """
    path = Path(output)
    folders = tuple(f"{folder_name(name)}/" for name in card.class_names)

    def name_of(index: int) -> str:
        mixture = plan.mixture(index)
        folder = folders[mixture[0][0]] if mixture else ""
        return f"{folder}{file_name(index, job.count)}.png"

    def facts(image: FinishedImage) -> dict[str, object]:
        index = image.mixture[0][0] if image.mixture else None
        return {
            "model": job.model,
            "seed": image.seed,
            "class": None if index is None else card.class_names[index],
            "class_index": index,
            "truncation": job.truncation,
            "truncation_mode": job.truncation_mode,
        }

    if job.layout == "zip":
        return Archive(path, name_of, job.count)
    if job.layout == "shards":
        return Shards(path, facts, job.count)
    return Folder(path, folders, name_of, job.count)
