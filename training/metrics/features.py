"""From images to features and probabilities, a batch at a time; and whose features they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.classifier import load_classifier
from training.data import Images
from training.errors import DatasetError, RunError
from training.metrics.inception import load_inception
from training.metrics.real_images import EMNIST, dataset_of
from zoo.card import Card
from zoo.nets.classifier import SIDE

BUNDLED_CLASSIFIER = Path(__file__).parent / "classifier-emnist.pt"
_BATCH = 250


class Judge(Protocol):
    """A network in whose features images are compared: a trained classifier, or Inception."""

    @property
    def name(self) -> str:
        """As it stands beside figures."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The images' classes, in order of index; empty if its own classes are others."""

    @property
    def test_accuracy(self) -> float | None:
        """Share of the test images that it names rightly; None if its classes are others."""

    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of uint8 [N, C, H, W]: features float32 [N, D], probabilities float64 [N, K]."""


@dataclass(frozen=True)
class Sample:
    """What a judge says of N images.

    Attributes:
        features: float32 [N, D].
        probabilities: float64 [N, n_classes], rows sum to one.
        labels: int64 [N], the class that each image is meant to be; None if nobody knows.
    """

    features: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.features)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image, int64 [N]."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def unlabelled(self) -> Sample:
        """The same without labels."""
        return Sample(self.features, self.probabilities, None)


def find_classifier(path: Path | None) -> Path:
    """`path`, else the classifier that came with the package.

    Raises:
        RunError: neither is there; names the command that trains one.
    """
    if path is not None:
        return path
    if BUNDLED_CLASSIFIER.is_file():
        return BUNDLED_CLASSIFIER
    raise RunError(
        "no classifier to measure with; train one: ganagerie train classifier-emnist "
        "--out runs/classifier, then add --classifier runs/classifier/classifier.pt"
    )


def judge_for(card: Card, classifier: Path | None, inception: Path | None) -> Judge:
    """Whose features a model is measured in: the classifier's of its data, else Inception's.

    Args:
        card: of the model.
        classifier: its file; None for the bundled one.
        inception: file of Inception's weights, which also chooses it where there is a classifier.

    Raises:
        DatasetError: the model's images, data set or classes are not the classifier's.
        RunError: a file is missing or cannot be read, or weights cannot be downloaded.
        BackendError: Inception is needed, and torch-fidelity is not installed.
    """
    if inception is not None or dataset_of(card) != EMNIST:
        if classifier is not None:
            raise DatasetError(
                f"--classifier: {card.reference} is measured in Inception's features; classifiers "
                f"are for models of {EMNIST}, without --inception-weights"
            )
        return load_inception(inception)
    image = card.image
    if (image.height, image.width, image.channels) != (SIDE, SIDE, 1):
        raise DatasetError(
            f"{card.reference} makes images of {image.width}x{image.height}x{image.channels}, the "
            f"classifier takes {SIDE}x{SIDE}x1: measure it in Inception's features with "
            "--inception-weights"
        )
    trained = load_classifier(find_classifier(classifier))
    if card.class_names not in {(), trained.class_names}:
        raise DatasetError(
            f"{card.reference} has other classes than the classifier: "
            f"{len(card.class_names)}, not {len(trained.class_names)}, or in another order"
        )
    return trained


def describe(judge: Judge, batches: Iterable[Tensor], labels: NDArray[np.int64] | None) -> Sample:
    """Runs a judge over images.

    Args:
        judge: decides the features.
        batches: uint8 [n, C, H, W] each; only one is held at a time.
        labels: int64, one an image over all batches; None if unknown.
    """
    features, said = [], []
    for batch in batches:
        found, probabilities = judge.describe(batch)
        features.append(found.numpy())
        said.append(probabilities.numpy())
    return Sample(np.concatenate(features), np.concatenate(said), labels)


def describe_images(judge: Judge, data: Images, chosen: Tensor) -> Sample:
    """The same for some images of a data set; `chosen` are indices int64 [N]."""
    batches = (data.batch(indices) for indices in torch.split(chosen, _BATCH))
    return describe(judge, batches, data.labels[chosen].numpy())
