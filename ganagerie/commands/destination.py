"""Where `ganagerie generate` puts its images."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ganagerie.errors import OutputError

if TYPE_CHECKING:
    from ganagerie.image import GeneratedImage


class Destination:
    """Where images go; what is in the way is found before any image is made."""

    def __init__(self, output: str) -> None:
        self._output = output
        self.path = Path(output)
        self.is_pipe = output == "-"
        self.is_folder = not self.is_pipe and (output.endswith(("/", os.sep)) or self.path.is_dir())
        try:
            self._check()
        except OSError as error:
            raise OutputError(f"cannot write {output}: {error.strerror}") from error

    def _check(self) -> None:
        if not self._output:
            raise OutputError("-o is empty: name a FILE.png, a DIR/, or - for standard output")
        if self.is_pipe:
            if sys.stdout.isatty():
                raise OutputError("-o - writes a PNG, which a terminal cannot show: pipe it on")
        elif self.is_folder:
            _require_writable_folder(next(p for p in (self.path, *self.path.parents) if p.exists()))
        elif self.path.suffix.lower() != ".png":
            raise OutputError(
                f"-o {self._output}: must end in .png (a contact sheet), in / (a folder, "
                "one PNG an image), or be - (one image to standard output)"
            )
        else:
            _require_writable_folder(self.path.parent)
            if self.path.exists():
                _require_writable(self.path)

    def write(self, images: Sequence[GeneratedImage], columns: int | None) -> None:
        """Writes all images; `columns` is of a contact sheet, None for as square as it gets.

        Raises:
            OutputError: the disk or the reader does not take them.
        """
        try:
            if self.is_pipe:
                sys.stdout.buffer.write(images[0].data)
                sys.stdout.buffer.flush()
            elif self.is_folder:
                self.path.mkdir(parents=True, exist_ok=True)
                for image in images:
                    (self.path / f"{image.seed}.png").write_bytes(image.data)
            else:
                from zoo.contact_sheet import contact_sheet

                contact_sheet([image.image for image in images], columns).save(self.path)
        except OSError as error:
            raise OutputError(f"cannot write {self._output}: {error.strerror}") from error


def _require_writable_folder(path: Path) -> None:
    if not path.exists():
        raise OutputError(f"cannot write to {path}: there is no such folder")
    if not path.is_dir():
        raise OutputError(f"cannot write to {path}: it is not a folder")
    _require_writable(path)


def _require_writable(path: Path) -> None:
    if not os.access(path, os.W_OK):
        raise OutputError(f"cannot write to {path}: permission denied")
