"""Where a run comes from: written when it starts, copied into the card of what it publishes."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path
from typing import Any

from training.runlog import PROVENANCE, write_text_atomically

_SOURCE = Path(__file__).resolve().parent


def now() -> str:
    """The time in UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def write(folder: Path, command: list[str]) -> None:
    """Notes when and from which commit a run was started, and with which arguments."""
    note = {"started": now(), "commit": commit(), "command": command}
    write_text_atomically(folder / PROVENANCE, json.dumps(note, indent=2) + "\n")


def finish(folder: Path) -> None:
    """Adds when the run was carried out to its end; the first time counts."""
    note = {"finished": now()} | _note(folder)
    write_text_atomically(folder / PROVENANCE, json.dumps(note, indent=2) + "\n")


def read(folder: Path) -> dict[str, str | None]:
    """`started`, `finished` and `commit`; None where nothing was noted."""
    note = _note(folder)
    return {key: note.get(key) for key in ("started", "finished", "commit")}


def _note(folder: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note


def commit() -> str | None:
    """The commit of this source tree, with `-dirty` behind it if files differ; None outside git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"],  # noqa: S607  git is found on PATH
            cwd=_SOURCE,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip() or None
