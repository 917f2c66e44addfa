"""Follows a file of JSON lines that another process is writing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.errors import RunError
from zoo.errors import one_line

_MARK = 64  # bytes before the place reached, by which a file that was written anew is known


class Tail:
    """Reads what was added to a file since the last time.

    A last line without its end is left for the next time. A file that is not there yet has no
    lines; one that was cut, replaced or taken away is begun again.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable = 0
        """Lines that were no JSON object, since the file was begun."""
        self._offset, self._mark = 0, b""

    def poll(self) -> tuple[bool, list[dict[str, Any]]]:
        """Whether the file was begun again, so that older lines no longer count; the new lines.

        Raises:
            RunError: the file is there and cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset - len(self._mark))
                again = file.read(len(self._mark)) != self._mark
                if again:
                    self._begin()
                    file.seek(0)
                added = file.read()
        except (FileNotFoundError, NotADirectoryError):
            again = self._offset > 0
            self._begin()
            return again, []
        except OSError as error:
            raise RunError(f"{self.path}: cannot be read: {one_line(error)}") from error
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._mark = (self._mark + whole)[-_MARK:]
        return again, [row for line in whole.splitlines() if (row := self._parse(line)) is not None]

    def _begin(self) -> None:
        self._offset, self._mark, self.unreadable = 0, b"", 0

    def _parse(self, line: bytes) -> dict[str, Any] | None:
        if not line.strip():
            return None
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            self.unreadable += 1
            return None
        return row
