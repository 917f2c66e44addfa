"""Data sets by name or path: images as uint8, in memory where they fit, else decoded as needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PilImage
from torch import Tensor
from torchvision import datasets

from training.errors import DatasetError
from training.image_files import ImageFiles, fit, holds_images
from zoo.errors import one_line

IMAGES: Final = "images"
"""The data set that is whatever images the path names."""

_IN_MEMORY_BYTES: Final = 2 * 1024**3


@dataclass(frozen=True)
class _Published:
    """A data set that torchvision knows: where it keeps the files, and the size of a download."""

    title: str
    folder: str
    below: str
    size: str

    def at(self, root: Path) -> Path:
        """The folder that the files are in."""
        return Path(root) / self.folder / self.below


_PUBLISHED: Final = {
    "emnist-balanced": _Published("EMNIST", "EMNIST", "raw", "560 MB"),
    "cifar10": _Published("CIFAR-10", "cifar-10-batches-py", "", "170 MB"),
}


class Images(Protocol):
    """Images with their classes, of one size."""

    @property
    def labels(self) -> Tensor:
        """int64 [N], indices into `class_names`; zeros where there are no classes."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class; empty for an unconditional set."""

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""

    @property
    def resolution(self) -> int:
        """Side of the images, pixels."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """Images at `indices`, int64 [N], as uint8 [N, C, H, W] that is the caller's own."""


@dataclass(frozen=True)
class ImageSet:
    """Images in memory.

    Attributes:
        images: uint8 [N, C, H, W].
        labels: int64 [N], indices into `class_names`.
        class_names: one name a class.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return self.images.shape[1]

    @property
    def resolution(self) -> int:
        """Side of the images, pixels."""
        return self.images.shape[-1]

    def batch(self, indices: Tensor) -> Tensor:
        """Images at `indices`, int64 [N]: uint8 [N, C, H, W]."""
        return self.images[indices]


class ResizedImages:
    """An `ImageSet` in another size: resized with antialiasing (Lanczos) a batch at a time."""

    def __init__(self, original: ImageSet, resolution: int) -> None:
        self._original = original
        self.labels, self.class_names = original.labels, original.class_names
        self.channels, self.resolution = original.channels, resolution

    def __len__(self) -> int:
        return len(self._original)

    def batch(self, indices: Tensor) -> Tensor:
        """Images at `indices`, int64 [N]: uint8 [N, C, H, W]."""
        out = np.empty((len(indices), self.resolution, self.resolution, self.channels), np.uint8)
        for row, index in enumerate(indices.tolist()):
            pixels = self._original.images[index].permute(1, 2, 0).squeeze(2).numpy()
            resized = fit(PilImage.fromarray(pixels), self.resolution)
            out[row] = np.asarray(resized).reshape(out.shape[1:])
        return torch.from_numpy(out).permute(0, 3, 1, 2).contiguous()


def load_dataset(
    name: str, path: Path, *, resolution: int, train: bool = True, download: bool = False
) -> Images:
    """Loads a data set by the name that recipes use, or the images that `path` names instead.

    A named data set is used where `path` holds it as torchvision keeps it, or with `download`.
    Otherwise a .zip, or a folder with images in it, is used in its place: see `dataset_at`.

    Args:
        name: emnist-balanced, cifar10, or images.
        path: folder of the data sets, or a folder or .zip of images (`training.image_layout`).
        resolution: side of the images, pixels. EMNIST at 32 is padded with zeros; everything else
            that is of another size is resized (see `training.image_files`).
        train: the training images, or those that are held out.
        download: fetch a named data set through torchvision, if it is missing.

    Raises:
        DatasetError: an unknown name, or data that is missing or cannot be read.
    """
    if dataset_at(name, path, download=download) == IMAGES:
        return load_images(path, resolution=resolution, train=train)
    load = load_emnist if name == "emnist-balanced" else load_cifar10
    images = load(path, train=train, download=download)
    if (images.resolution, resolution) == (28, 32):
        return ImageSet(F.pad(images.images, (2, 2, 2, 2)), images.labels, images.class_names)
    if images.resolution == resolution:
        return images
    return _in_memory(ResizedImages(images, resolution))


def load_held_out(name: str, path: Path, *, resolution: int) -> Images | None:
    """The images of the same data set that are not for training; None where there are none."""
    try:
        return load_dataset(name, path, resolution=resolution, train=False)
    except DatasetError:
        return None


def dataset_at(name: str, path: Path, *, download: bool = False) -> str:
    """Which data set `load_dataset` takes: `name`, or `images` where `path` names images instead.

    Raises:
        DatasetError: an unknown name, or `images` with `download`.
    """
    if name not in {*_PUBLISHED, IMAGES}:
        raise DatasetError(f"unknown data set {name!r}; known: {', '.join([*_PUBLISHED, IMAGES])}")
    if name == IMAGES:
        if download:
            raise DatasetError(
                "data set 'images' cannot be downloaded: leave out --download, and name a folder "
                "or .zip of images with --data or GANAGERIE_DATA"
            )
        return IMAGES
    if download or _PUBLISHED[name].at(path).is_dir() or not holds_images(path):
        return name
    return IMAGES


def load_images(path: Path, *, resolution: int, train: bool = True) -> Images:
    """Images of a folder or .zip: in memory up to 2 GiB, else decoded a batch at a time.

    Raises:
        DatasetError: what `ImageFiles` raises.
    """
    return _in_memory(ImageFiles(path, resolution=resolution, train=train))


def load_emnist(root: Path, *, train: bool = True, download: bool = False) -> ImageSet:
    """EMNIST balanced (Cohen et al. 2017), upright: torchvision keeps NIST's transposed pixels.

    Raises:
        DatasetError: the files are not there, cannot be read, or cannot be downloaded.
    """
    try:
        raw = datasets.EMNIST(str(root), split="balanced", train=train, download=download)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        raise _absent("emnist-balanced", root, download, error) from error
    images = raw.data.transpose(1, 2).unsqueeze(1).contiguous()
    return ImageSet(images, raw.targets, tuple(raw.classes))


def load_cifar10(root: Path, *, train: bool = True, download: bool = False) -> ImageSet:
    """CIFAR-10 (Krizhevsky 2009), RGB of 32 pixels.

    Raises:
        DatasetError: the files are not there, are not the published ones, or cannot be downloaded.
    """
    try:
        raw = datasets.CIFAR10(str(root), train=train, download=download)
    except (OSError, RuntimeError, ValueError) as error:
        raise _absent("cifar10", root, download, error) from error
    images = torch.from_numpy(raw.data).permute(0, 3, 1, 2).contiguous()
    return ImageSet(images, torch.tensor(raw.targets), tuple(raw.classes))


def to_range(images: Tensor, pixel_range: tuple[float, float]) -> Tensor:
    """uint8 [N, C, H, W] to float32, 0 and 255 becoming the ends of `pixel_range`."""
    low, high = pixel_range
    return images.float().mul_((high - low) / 255.0).add_(low)


def _in_memory(images: ImageFiles | ResizedImages) -> Images:
    if len(images) * images.channels * images.resolution**2 > _IN_MEMORY_BYTES:
        return images
    everything = (
        images.all() if isinstance(images, ImageFiles) else images.batch(torch.arange(len(images)))
    )
    return ImageSet(everything, images.labels, images.class_names)


def _absent(name: str, root: Path, download: bool, error: Exception) -> DatasetError:
    known, why = _PUBLISHED[name], one_line(error)
    if download:
        return DatasetError(f"{known.title} could not be downloaded to {root}: {why}")
    # torchvision's words for missing files name an argument that is not ours.
    if "not found or corrupted" in why and known.at(root).is_dir():
        why = "files are missing or damaged"
    elif "not found" in why:
        why = "the files are missing"
    return DatasetError(
        f"no {known.title} in {known.at(root)} ({why}): name the folder that holds "
        f"{known.folder}/, or a folder or .zip of your own images, with --data or GANAGERIE_DATA, "
        f"or add --download to fetch {known.title} there (about {known.size})"
    )
