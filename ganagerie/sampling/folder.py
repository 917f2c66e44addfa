"""A set as a folder: a file an image, in a folder for its class."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from server.requests import FinishedImage

_PART = ".part"  # the image that is being written


class Folder:
    """Files named by index; those that are there already stay.

    Args:
        root: must be there.
        folders: relative, one a class; none without classes.
        name_of: the relative path of each image.
        count: images of the set.
    """

    def __init__(
        self, root: Path, folders: tuple[str, ...], name_of: Callable[[int], str], count: int
    ) -> None:
        self._root = root
        self._name_of = name_of
        self._count = count
        self._made: set[Path] = set()
        self._folders = [folder for folder in folders or ("",) if (root / folder).is_dir()]

    def missing(self) -> Iterator[range]:
        """Ranges of images whose file is not there, or is empty."""
        there = {
            f"{folder}{entry.name}"
            for folder in self._folders
            for entry in os.scandir(self._root / folder)
            if entry.is_file(follow_symlinks=False) and entry.stat().st_size
        }
        start = None
        for index in range(self._count):
            if self._name_of(index) in there:
                if start is not None:
                    yield range(start, index)
                start = None
            elif start is None:
                start = index
        if start is not None:
            yield range(start, self._count)

    def write(self, images: list[FinishedImage]) -> None:
        """Each under another name first, so that a file is whole or not there."""
        part = self._root / _PART
        for image in images:
            part.write_bytes(image.data)
            path = self._root / self._name_of(image.index)
            if path.parent not in self._made:
                path.parent.mkdir(exist_ok=True)  # a class without images gets no folder
                self._made.add(path.parent)
            part.replace(path)

    def close(self) -> int:
        """Leaves nothing half-written."""
        (self._root / _PART).unlink(missing_ok=True)
        return 0
