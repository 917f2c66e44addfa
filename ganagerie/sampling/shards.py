"""A set as tar shards that webdataset reads: 000123.png and 000123.json, 1,000 images a shard."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from ganagerie.sampling.layout import file_name
from server.requests import FinishedImage

SHARD = 1000  # images


class Shards:
    """NAME-000000.tar and on; a shard is whole or not there.

    Args:
        path: NAME.tar.
        facts: what the .json of an image says.
        count: images of the set.
    """

    def __init__(
        self, path: Path, facts: Callable[[FinishedImage], dict[str, object]], count: int
    ) -> None:
        self._path = path
        self._facts = facts
        self._count = count
        self._file: IO[bytes] | None = None
        self._tar: tarfile.TarFile | None = None
        self._part = path
        self._in_shard = 0  # images of the unfinished shard

    def shard(self, index: int) -> Path:
        """The shard in which image `index` lies."""
        return self._path.with_name(f"{self._path.stem}-{index // SHARD:06d}.tar")

    def missing(self) -> Iterator[range]:
        """The shards that are not there."""
        for start in range(0, self._count, SHARD):
            if not self.shard(start).exists():
                yield range(start, min(start + SHARD, self._count))

    def write(self, images: list[FinishedImage]) -> None:
        """Appends images; the last one of a shard gives it its name."""
        for image in images:
            if image.index % SHARD == 0:
                self._part = self.shard(image.index).with_suffix(".tar.part")
                self._file = self._part.open("wb")
                self._in_shard = 0
                self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            self._add(image)
            self._in_shard += 1
            if image.index % SHARD == SHARD - 1 or image.index == self._count - 1:
                self._finish(self.shard(image.index))

    def close(self) -> int:
        """Takes an unfinished shard away: it is made again from its start."""
        if self._file is None:
            return 0
        try:
            self._file.close()
        finally:
            self._part.unlink(missing_ok=True)
        return self._in_shard

    def _add(self, image: FinishedImage) -> None:
        assert self._tar is not None  # noqa: S101  a shard begins with its first image
        key = file_name(image.index, self._count)
        about = json.dumps(self._facts(image), ensure_ascii=False).encode()
        for suffix, content in (("png", image.data), ("json", about)):
            member = tarfile.TarInfo(f"{key}.{suffix}")
            member.size = len(content)
            self._tar.addfile(member, io.BytesIO(content))

    def _finish(self, path: Path) -> None:
        assert self._tar is not None  # noqa: S101
        assert self._file is not None  # noqa: S101
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(path)
        self._file = self._tar = None
