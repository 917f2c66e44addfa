"""Where a run comes from: noted as it runs, copied into the card of what it publishes."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path
from typing import Any

from training.runlog import PROVENANCE, write_text_atomically

_ROOT = Path(__file__).resolve().parent.parent


def write(folder: Path, command: list[str]) -> None:
    """Notes when and from which commit a run was started, and with which arguments."""
    _write(folder, {"started": now(), "commit": commit(), "command": command})


def set_finished(folder: Path, *, finished: bool) -> None:
    """Notes when the run was carried out to its end, or that it no longer is."""
    _write(folder, _note(folder) | {"finished": now() if finished else None})


def read(folder: Path) -> dict[str, str | None]:
    """`started`, `finished` and `commit`; None where nothing was noted."""
    note = _note(folder)
    return {key: note.get(key) for key in ("started", "finished", "commit")}


def commit() -> str | None:
    """The commit of this source tree, with `-dirty` behind it if files differ; None outside git."""
    try:
        if Path(_git("rev-parse", "--show-toplevel")) != _ROOT:
            return None  # installed somewhere below another project's repository
        return _git("describe", "--always", "--abbrev=12", "--dirty", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True)  # noqa: S603  our own arguments
    return done.stdout.strip()


def _note(folder: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note


def _write(folder: Path, note: dict[str, Any]) -> None:
    write_text_atomically(folder / PROVENANCE, json.dumps(note, indent=2) + "\n")


def now() -> str:
    """The time in UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
