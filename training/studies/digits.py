"""Handwritten digits: the classes 0 to 9 of EMNIST balanced, 28x28 grey."""

from __future__ import annotations

from typing import Final

from training.data import ImageSet, load_emnist
from training.studies.study import Setting

DIGITS: Final = 10


def load_digits(setting: Setting, *, train: bool, most: int | None = None) -> ImageSet:
    """Digits upright, in the order of the files, in which the classes are mixed.

    Args:
        setting: says where the data are.
        train: the training images (24,000), or those held out (1,000 as we have them).
        most: keep the first so many; None: all.

    Raises:
        DatasetError: EMNIST is not there.
    """
    everything = load_emnist(setting.data, train=train, download=setting.download)
    chosen = (everything.labels < DIGITS).nonzero().squeeze(1)[:most]
    return ImageSet(
        everything.images[chosen], everything.labels[chosen], everything.class_names[:DIGITS]
    )
