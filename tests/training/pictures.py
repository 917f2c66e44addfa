"""Small image files, folders and zips of them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image as PilImage

from training.errors import DatasetError
from training.image_files import ImageFiles


def picture(value: int | tuple[int, ...] = 0, mode: str = "RGB", form: str = "PNG") -> bytes:
    """A file of 8x8 pixels in one colour."""
    out = io.BytesIO()
    PilImage.new(mode, (8, 8), value).save(out, form)
    return out.getvalue()


def encoded(image: PilImage.Image, form: str = "PNG", **options: object) -> bytes:
    """An image file."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    """A folder with these files."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """A zip with these files."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def refusal(path: Path, *, train: bool = True) -> str:
    """What opening `path` raises, `path` itself as PATH."""
    with pytest.raises(DatasetError) as caught:
        ImageFiles(path, resolution=8, train=train)
    return str(caught.value).replace(str(path), "PATH")


def reds(files: ImageFiles) -> list[int]:
    """The first pixel's first channel of every image, in order."""
    return files.all()[:, 0, 0, 0].tolist()
