"""From images to a classifier's features and probabilities, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.classifier import TrainedClassifier, load_classifier
from training.data import Images, to_range
from training.errors import DatasetError, RunError
from zoo.card import Card
from zoo.nets.classifier import SIDE, probabilities

BUNDLED_CLASSIFIER = Path(__file__).parent / "classifier-emnist.pt"
_BATCH = 250


@dataclass(frozen=True)
class Sample:
    """What a classifier says of N images.

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


def classifier_for(card: Card, path: Path | None) -> TrainedClassifier:
    """The classifier that a model's images are measured with.

    Raises:
        DatasetError: the model's images, data set or classes are not the classifier's.
        RunError: there is no classifier, or its file cannot be read.
    """
    image, dataset = card.image, card.provenance.dataset
    only = (
        "only models of data with a classifier can be evaluated: emnist-balanced. Inception-based "
        "figures of natural images need the weights that torch-fidelity distributes, which "
        "Ganagerie does not use"
    )
    if (image.height, image.width, image.channels) != (SIDE, SIDE, 1):
        size = f"{image.width}x{image.height}x{image.channels}"
        raise DatasetError(
            f"{card.reference} makes images of {size}, the classifier takes {SIDE}x{SIDE}x1: {only}"
        )
    if dataset not in {None, "emnist-balanced"}:
        raise DatasetError(f"{card.reference} was trained on {dataset}: {only}")
    classifier = load_classifier(find_classifier(path))
    if card.class_names not in {(), classifier.class_names}:
        raise DatasetError(
            f"{card.reference} has other classes than the classifier: "
            f"{len(card.class_names)}, not {len(classifier.class_names)}, or in another order"
        )
    return classifier


@torch.no_grad()
def describe(
    classifier: TrainedClassifier, batches: Iterable[Tensor], labels: NDArray[np.int64] | None
) -> Sample:
    """Runs a classifier over images.

    Args:
        classifier: decides the features.
        batches: uint8 [n, 1, 28, 28] each; only one is held at a time.
        labels: int64, one an image over all batches; None if unknown.
    """
    features, said = [], []
    for batch in batches:
        found = classifier.network.features(to_range(batch, (0.0, 1.0)))
        features.append(found.numpy())
        said.append(probabilities(classifier.network.head(found)).numpy())
    return Sample(np.concatenate(features), np.concatenate(said), labels)


def describe_images(classifier: TrainedClassifier, data: Images, chosen: Tensor) -> Sample:
    """The same for some images of a data set; `chosen` are indices int64 [N]."""
    batches = (data.batch(indices) for indices in torch.split(chosen, _BATCH))
    return describe(classifier, batches, data.labels[chosen].numpy())
