"""A set as one zip: stored, not deflated, as PNG is compressed already.

Until it is complete the archive is called NAME.zip.part. What ends a run cannot end the set:
entries are found again by their headers, one after the other, whether or not a directory of them
was written at the end. A run that is stopped does write one, so NAME.zip.part can be read then.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from server.requests import FinishedImage

_HEADER = struct.Struct("<4s5H3L2H")  # APPNOTE.TXT 4.3.7, local file header
_SIGNATURE = b"PK\x03\x04"


class Archive:
    """The zip of a set; entry i is image i.

    Args:
        path: the archive when it is complete.
        name_of: the name of each entry.
        count: images of the set.
    """

    def __init__(self, path: Path, name_of: Callable[[int], str], count: int) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._name_of = name_of
        self._count = count
        self._done = 0
        self._archive: zipfile.ZipFile | None = None
        self._file: IO[bytes] | None = None

    def missing(self) -> Iterator[range]:
        """What follows the entries that are there."""
        if self._path.exists():
            return
        descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        self._file = os.fdopen(descriptor, "r+b")
        kept = list(self._entries(self._file))
        self._done = len(kept)
        self._file.truncate()
        self._archive = zipfile.ZipFile(self._file, "w")
        self._archive.filelist.extend(kept)
        if self._done < self._count:
            yield range(self._done, self._count)

    def write(self, images: list[FinishedImage]) -> None:
        """Appends entries; all carry zip's earliest date, so that equal sets are equal bytes."""
        assert self._archive is not None  # noqa: S101  missing() opened it
        for image in images:
            self._archive.writestr(self._info(image.index), image.data)
            self._done += 1

    def close(self) -> int:
        """Writes the directory of entries; a complete archive gets its name."""
        if self._archive is None or self._file is None:
            return 0
        try:
            self._archive.close()
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()
        if self._done == self._count:
            self._part.replace(self._path)
        return 0

    def _info(self, index: int) -> zipfile.ZipInfo:
        info = zipfile.ZipInfo(self._name_of(index))
        info.create_system = 3  # Unix, wherever it is written
        info.external_attr = 0o644 << 16
        return info

    def _entries(self, file: IO[bytes]) -> Iterator[zipfile.ZipInfo]:
        """The whole entries from the start on; leaves the file after the last of them."""
        for index in range(self._count):
            info = self._info(index)
            info.header_offset = file.tell()
            if not self._read(file, info):
                file.seek(info.header_offset)
                return
            yield info

    def _read(self, file: IO[bytes], info: zipfile.ZipInfo) -> bool:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return False
        signature, *_, crc, size, full_size, name_size, extra_size = _HEADER.unpack(header)
        name = file.read(name_size)
        wanted = info.filename.encode()
        if signature != _SIGNATURE or name != wanted or extra_size or size != full_size:
            return False
        content = file.read(size)
        if not size or len(content) < size or zlib.crc32(content) != crc:
            return False
        info.CRC, info.file_size, info.compress_size = crc, size, size
        return True
