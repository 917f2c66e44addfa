"""What a set looks like on disk: the interface, and how images and classes are named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from server.requests import FinishedImage

# Characters that some file system does not take, what hides a file or leads elsewhere, and %.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|%]|^\.|[. ]$')


class Layout(Protocol):
    """A set that is being written, in order of index."""

    def missing(self) -> Iterator[range]:
        """The images that are not there yet, in order; none where the set is complete."""

    def write(self, images: list[FinishedImage]) -> None:
        """Adds images, which follow on those before; raises OSError."""

    def close(self) -> int:
        """Finishes what can be finished; returns how many images are taken away again.

        Raises OSError.
        """


def file_name(index: int, count: int) -> str:
    """`000123`, with as many digits as the last image needs, six at least."""
    return f"{index:0{max(6, len(str(count - 1)))}d}"


def folder_name(class_name: str) -> str:
    """A class's name as the name of a folder: what cannot be in one is percent-encoded."""
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", class_name)
