"""Image files of a folder or a zip, decoded by a thread pool when they are asked for."""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from training.errors import DatasetError
from training.image_layout import DATASET_JSON, arrange, is_image, is_visible
from zoo.errors import one_line

_DEEPEST = 4  # folders: enough for train/CLASS/FILE and for saying that it is deeper
_LONG = 2_000  # images: decoding more says so
_WORKERS = min(16, os.cpu_count() or 1)
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_GREY = {"1", "L", "LA", "I", "I;16", "I;16B", "I;16L"}
_PROBED = 100
_UNREADABLE = (
    OSError,
    SyntaxError,  # Pillow's for a broken PNG
    ValueError,
    EOFError,
    NotImplementedError,  # a compression that zipfile does not know
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    PilImage.DecompressionBombError,
)
Read = Callable[[str], bytes]


class ImageFiles:
    """Images that stay in their files; satisfies `training.data.Images`.

    Each is turned upright as its EXIF data say, laid on white where it is transparent, cropped to
    the square in its centre, and resized with antialiasing (Lanczos). All are grey if the files
    are grey (1, 8 or 16 bits), going by 100 of them that are spread over the set; else RGB.

    Args:
        path: a folder or .zip; see `training.image_layout` for what may be inside.
        resolution: side of the decoded images, pixels.
        train: whether train/ or test/ (or val/) is meant, where there are parts.

    Attributes:
        labels: int64 [N], indices into `class_names`; zeros where there are no classes.
        class_names: one name a class; empty for an unconditional set.
        channels: 1 or 3.
        resolution: side of the decoded images, pixels.

    Raises:
        DatasetError: no such path, a zip that cannot be read, or no usable images.
    """

    def __init__(self, path: Path, *, resolution: int, train: bool = True) -> None:
        names, self._read = _open_zip(path) if is_zip(path) else _open_folder(path)
        labels = self._read(DATASET_JSON) if DATASET_JSON in names else None
        images = filter(is_image, names)
        layout = arrange(str(path), images, train=train, dataset_json=labels)
        self._path = path
        self._names = layout.names
        self.labels = torch.tensor(layout.labels)
        self.class_names = layout.class_names
        self.resolution = resolution
        self.channels = 1 if self._is_grey() else 3

    def __len__(self) -> int:
        return len(self._names)

    def batch(self, indices: Tensor) -> Tensor:
        """Decodes the images at `indices`, int64 [N], to uint8 [N, C, H, W].

        Raises:
            DatasetError: some cannot be read; names the first.
        """
        return self._decode(indices.tolist(), lambda _: None)

    def all(self) -> Tensor:
        """Decodes every image, uint8 [N, C, H, W], with a progress bar if there are many.

        Raises:
            DatasetError: some cannot be read; names the first and says how many.
        """
        n, console = len(self), Console(file=sys.stderr)
        if n >= _LONG and not console.is_terminal:
            console.print(f"decoding {n:,} images of {self._path}", markup=False, highlight=False)
        bar = Progress(
            console=console, transient=True, disable=n < _LONG or not console.is_terminal
        )
        with bar:
            task = bar.add_task(f"decoding {self._path.name}", total=n)
            return self._decode(range(n), lambda done: bar.advance(task, done))

    def _decode(self, indices: Sequence[int], advance: Callable[[int], None]) -> Tensor:
        n, side = len(indices), self.resolution
        out = np.empty((n, self.channels, side, side), np.uint8)

        def decode(rows: range) -> list[tuple[str, str]]:
            failed = []
            for row in rows:
                name = self._names[indices[row]]
                try:
                    out[row] = _pixels(self._read(name), side, self.channels)
                except _UNREADABLE as error:
                    failed.append((name, _reason(error)))
            return failed

        step = max(1, min(64, n // (4 * _WORKERS)))
        spans = [range(first, min(first + step, n)) for first in range(0, n, step)]
        failures = []
        with ThreadPoolExecutor(_WORKERS) as pool:
            for rows, failed in zip(spans, pool.map(decode, spans), strict=True):
                failures += failed
                advance(len(rows))
        self._refuse(failures, n)
        return torch.from_numpy(out)

    def _is_grey(self) -> bool:
        for name in self._names[:: -(-len(self._names) // _PROBED)]:
            try:
                with PilImage.open(io.BytesIO(self._read(name)), formats=_FORMATS) as image:
                    if image.mode not in _GREY:
                        return False
            except _UNREADABLE:
                pass  # reported with all the others when it is decoded
        return True

    def _refuse(self, failures: Sequence[tuple[str, str]], n: int) -> None:
        if failures:
            name, why = failures[0]
            raise DatasetError(
                f"{self._path}: {len(failures):,} of {n:,} images cannot be read, first {name} "
                f"({why}); remove or replace them"
            )


def is_zip(path: Path) -> bool:
    """Whether `path` is a file that is called a zip."""
    return path.suffix.lower() == ".zip" and path.is_file()


def holds_images(path: Path) -> bool:
    """Whether `path` is a zip, or a folder with at least one image in it or below."""
    return is_zip(path) or (path.is_dir() and any(map(is_image, _names_in(path))))


def fit(image: PilImage.Image, resolution: int) -> PilImage.Image:
    """The square in the centre, resized to [resolution, resolution] with antialiasing."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    if side == resolution:
        return square
    return square.resize((resolution, resolution), PilImage.Resampling.LANCZOS)


def _pixels(content: bytes, resolution: int, channels: int) -> NDArray[np.uint8]:
    """One decoded image, uint8 [C, H, W]."""
    with PilImage.open(io.BytesIO(content), formats=_FORMATS) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # 16 bits, of which Pillow's conversion would clip half
            image = PilImage.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = PilImage.alpha_composite(PilImage.new("RGBA", image.size, "white"), image)
        image = fit(image.convert("L" if channels == 1 else "RGB"), resolution)
    return np.asarray(image).reshape(resolution, resolution, channels).transpose(2, 0, 1)


def _open_folder(path: Path) -> tuple[Sequence[str], Read]:
    if not path.is_dir():
        raise DatasetError(
            f"{path}: no such folder, and no .zip file; name a folder or .zip of images with "
            "--data or GANAGERIE_DATA"
        )
    return list(_names_in(path)), lambda name: (path / name).read_bytes()


def _names_in(folder: Path) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise DatasetError(f"{folder}: cannot be listed: {one_line(error)}") from error

    for root, below, files in os.walk(folder, onerror=fail, followlinks=True):
        inside = Path(root).relative_to(folder)
        below[:] = filter(is_visible, below) if len(inside.parts) < _DEEPEST - 1 else []
        prefix = f"{inside.as_posix()}/" if inside.parts else ""
        yield from (prefix + name for name in files)


def _open_zip(path: Path) -> tuple[Sequence[str], Read]:
    try:
        archive = zipfile.ZipFile(path)
    except _UNREADABLE as error:
        raise DatasetError(
            f"{path}: not a whole zip file ({one_line(error)}); make or fetch it again"
        ) from error
    # Windows tools write "\\" between folders, and some write "./" in front.
    entries = {
        entry.filename.replace("\\", "/").removeprefix("./"): entry for entry in archive.infolist()
    }
    locked = [name for name, entry in entries.items() if entry.flag_bits & 1]
    if locked:
        raise DatasetError(
            f"{path}: {locked[0]} is encrypted; unpack it with its password, then name the folder, "
            "or a .zip of it without a password, with --data"
        )
    lock = threading.Lock()  # zipfile's own counting of readers is not safe among threads

    def read(name: str) -> bytes:
        with lock:
            return archive.read(entries[name])

    return list(entries), read


def _reason(error: BaseException) -> str:
    """Why, without the address of a buffer that Pillow's message shows."""
    if isinstance(error, UnidentifiedImageError):
        return "not a PNG, JPEG, WebP or BMP file"
    return one_line(error)
