"""Training data: held in memory as uint8, in an order that is a function of (seed, epoch).

The order has no state, so a run that resumes at iteration `i` sees the very batches that an
uninterrupted one would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from training.errors import DatasetError
from zoo.errors import one_line

# Domains of the Philox key, so that no two kinds of random numbers share a stream.
_ORDER: Final = 1
_NOISE: Final = 2
_CLASS: Final = 3
_G_NOISE: Final = 4


@dataclass(frozen=True)
class ImageSet:
    """Images with their classes.

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


def load_emnist(root: Path, *, train: bool = True, download: bool = False) -> ImageSet:
    """EMNIST balanced (Cohen et al. 2017), upright: torchvision keeps NIST's transposed pixels.

    Raises:
        DatasetError: the files are not there, cannot be read, or cannot be downloaded.
    """
    try:
        raw = datasets.EMNIST(str(root), split="balanced", train=train, download=download)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        if download:
            why = one_line(error)
            raise DatasetError(f"EMNIST could not be downloaded to {root}: {why}") from error
        # torchvision's words for missing files name an argument that is not ours.
        missing = "not found" in str(error)
        why = "the files are missing" if missing else one_line(error)
        raise DatasetError(
            f"no EMNIST in {Path(root) / 'EMNIST' / 'raw'} ({why}): "
            "name the folder that holds EMNIST/ with --data or GANAGERIE_DATA, "
            "or add --download to fetch it there (about 560 MB)"
        ) from error
    images = raw.data.transpose(1, 2).unsqueeze(1).contiguous()
    return ImageSet(images, raw.targets, tuple(raw.classes))


def load_dataset(name: str, root: Path, *, train: bool = True, download: bool = False) -> ImageSet:
    """Loads a data set by the name that recipes use.

    Raises:
        DatasetError: an unknown name, or what the loader raises.
    """
    if name != "emnist-balanced":
        raise DatasetError(f"unknown data set {name!r}; known: emnist-balanced")
    return load_emnist(root, train=train, download=download)


class BatchOrder:
    """Which images make up iteration `itr`: a fresh permutation each epoch, the last bit dropped.

    Raises:
        DatasetError: fewer images than one batch.
    """

    def __init__(self, n_images: int, batch_size: int, seed: int) -> None:
        if n_images < batch_size:
            raise DatasetError(f"{n_images} images are fewer than one batch of {batch_size}")
        self.batches_per_epoch = n_images // batch_size
        self._n_images = n_images
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.int64)

    def indices(self, itr: int) -> Tensor:
        """Image indices of iteration `itr`, int64 [batch_size]."""
        epoch, batch = divmod(itr, self.batches_per_epoch)
        if epoch != self._epoch:
            order = _philox(self._seed, _ORDER, epoch).permutation(self._n_images)
            self._epoch, self._permutation = epoch, torch.from_numpy(order)
        return self._permutation[batch * self._batch_size : (batch + 1) * self._batch_size]


def noise(seed: int, itr: int, n: int, z_dim: int) -> Tensor:
    """Latents of iteration `itr`: N(0, 1), float32 [n, z_dim], a function of (seed, itr)."""
    return _normal(seed, _NOISE, itr, n, z_dim)


def g_noise(seed: int, itr: int, n: int, z_dim: int) -> Tensor:
    """Latents like those of `noise` and independent of them, for updates of G on its own."""
    return _normal(seed, _G_NOISE, itr, n, z_dim)


def classes(seed: int, counter: int, n: int, n_classes: int) -> Tensor:
    """Classes of fakes, drawn uniformly: int64 [n], a function of (seed, counter)."""
    return torch.from_numpy(_philox(seed, _CLASS, counter).integers(n_classes, size=n))


def to_range(images: Tensor, pixel_range: tuple[float, float]) -> Tensor:
    """uint8 [N, C, H, W] to float32, 0 and 255 becoming the ends of `pixel_range`."""
    low, high = pixel_range
    return images.float().mul_((high - low) / 255.0).add_(low)


def _normal(seed: int, domain: int, counter: int, n: int, z_dim: int) -> Tensor:
    z = _philox(seed, domain, counter).standard_normal((n, z_dim), dtype=np.float32)
    return torch.from_numpy(z)


def _philox(seed: int, domain: int, counter: int) -> np.random.Generator:
    # 256-bit counter: its highest words name the stream, its lowest count within it.
    return np.random.Generator(
        np.random.Philox(key=np.uint64(seed), counter=np.array([0, 0, counter, domain], np.uint64))
    )
