"""Which real images a generator is compared with: as many of each class as it is meant to make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data import IMAGES, Images, load_dataset
from training.errors import DatasetError
from training.metrics.precision_recall import K
from zoo.card import Card
from zoo.nets.classifier import SIDE

EMNIST = "emnist-balanced"
_SEED = 0
_ROUNDING = 1e-9


def dataset_of(card: Card) -> str:
    """What a model was trained on; by the size of its images where its card does not say."""
    image = card.image
    small = (image.height, image.width, image.channels) == (SIDE, SIDE, 1)
    return card.provenance.dataset or (EMNIST if small else IMAGES)


@dataclass(frozen=True)
class Drawn:
    """Indices of images, int64 [n] each.

    Attributes:
        reference: training images that everything is compared with.
        real: as many others, of the same classes.
        held_out: test images, in the same shares, or fewer where a class has not enough.
    """

    reference: Tensor
    real: Tensor
    held_out: Tensor


@dataclass(frozen=True)
class RealImages:
    """The two splits of a data set.

    Attributes:
        train: its training images.
        test: its test images.
        name: of the data set.
    """

    train: Images
    test: Images
    name: str

    @classmethod
    def of(cls, card: Card, path: Path) -> RealImages:
        """The images that a model was trained on, in its size.

        Args:
            card: of the model.
            path: folder of the data sets, or a folder or .zip of images.

        Raises:
            DatasetError: missing images, or others than the model's.
        """
        image = card.image
        if image.height != image.width:
            raise DatasetError(
                f"{card.reference} makes images of {image.width}x{image.height}: only square ones "
                "can be compared with a data set"
            )
        name = dataset_of(card)
        train = load_dataset(name, path, resolution=image.height)
        if train.channels != image.channels:
            raise DatasetError(
                f"{path}: images of {train.channels} channels; {card.reference} makes "
                f"{image.channels}"
            )
        if card.class_names not in {(), train.class_names}:
            raise DatasetError(
                f"{path}: other classes than those of {card.reference}: {len(train.class_names)}, "
                f"not {len(card.class_names)}, or in another order"
            )
        test = load_dataset(name, path, resolution=image.height, train=False)
        if test.class_names != train.class_names:
            odd = sorted({*test.class_names} ^ {*train.class_names})
            raise DatasetError(
                f"{path}: other classes in the test images ({len(test.class_names)}) than in the "
                f"training images ({len(train.class_names)}); only one of them has {odd[0]!r}"
            )
        return cls(train, test, name)

    def draw(self, samples: int, *, equal_shares: bool) -> Drawn:
        """Draws without replacement; the same images every time.

        Splits seldom have the same shares of classes, and a difference in shares alone moves every
        distance. So all three samples have the shares that the generator is meant to have.

        Args:
            samples: images of each kind.
            equal_shares: every class as often as any other, as for a generator that is told the
                class; else as often as in the training images, which is what one learns by itself.

        Raises:
            DatasetError: fewer samples than the metrics need, or more than there are images for.
        """
        n_classes = max(1, len(self.train.class_names))
        available = _counts(self.train.labels, n_classes)
        held = _counts(self.test.labels, n_classes)
        shares = available / available.sum()
        if equal_shares:
            shares = np.full(n_classes, 1.0 / n_classes)
        most = _most(available // 2, shares)
        if not K < samples <= most:
            raise DatasetError(
                f"{samples} samples: must be {K + 1} to {most}, because as many training images "
                "are compared with as many others of the same classes"
            )
        rng = np.random.default_rng(_SEED)
        wanted = _quotas(samples, shares)
        both = _draw(self.train.labels, 2 * wanted, rng)
        reference = np.concatenate([part[: len(part) // 2] for part in both])
        real = np.concatenate([part[len(part) // 2 :] for part in both])
        held_samples = min(samples, _most(held, shares))
        if held_samples <= K:
            raise DatasetError(f"the test images lack a class: {held_samples} samples, not {K + 1}")
        held_out = np.concatenate(_draw(self.test.labels, _quotas(held_samples, shares), rng))
        return Drawn(*map(torch.from_numpy, (reference, real, held_out)))


def _counts(labels: Tensor, n_classes: int) -> NDArray[np.int64]:
    return np.bincount(labels.numpy(), minlength=n_classes)


def _most(available: NDArray[np.int64], shares: NDArray[np.float64]) -> int:
    """The largest sample that no class is too rare for."""
    there = shares > 0
    return int((available[there] / shares[there]).min() + _ROUNDING)


def _quotas(samples: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole numbers that sum to `samples`: rounded down, and what is over by largest remainder."""
    exact = samples * shares
    quotas = np.floor(exact + _ROUNDING).astype(np.int64)
    over = samples - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[:over]] += 1
    return quotas


def _draw(
    labels: Tensor, quotas: NDArray[np.int64], rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Indices of each class, in random order."""
    of_classes = (np.flatnonzero(labels.numpy() == index) for index in range(len(quotas)))
    return [rng.permutation(found)[:n] for found, n in zip(of_classes, quotas, strict=True)]
