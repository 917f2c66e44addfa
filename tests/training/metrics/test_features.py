"""Which classifier measures which model, and what it says of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.toys import write_toy
from training.classifier import (
    ClassifierRecipe,
    TrainedClassifier,
    load_classifier,
    save_classifier,
)
from training.data import ImageSet
from training.errors import DatasetError, RunError
from training.metrics import features
from training.metrics.features import describe_images, find_classifier, judge_for
from zoo.card import Card
from zoo.nets.classifier import Classifier

NAMES = ("A", "B", "C")


@pytest.fixture(scope="module")
def classifier_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("classifier") / "classifier.pt"
    recipe = ClassifierRecipe(task="classifier", name="tiny", epochs=1)
    save_classifier(path, TrainedClassifier(Classifier(3).eval(), recipe, NAMES, 1, 0.25, 20))
    return path


def test_batches_change_nothing(classifier_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.randint(0, 256, (7, 1, 28, 28)).to(torch.uint8)
    data = ImageSet(pixels, torch.arange(7) % 3, NAMES)
    classifier, chosen = load_classifier(classifier_path), torch.tensor([5, 0, 6, 1, 2])
    monkeypatch.setattr(features, "_BATCH", 2)
    sample = describe_images(classifier, data, chosen)
    assert sample.labels is not None
    assert sample.labels.tolist() == [2, 0, 0, 1, 2]
    for i, index in enumerate(chosen.tolist()):
        unit = pixels[index : index + 1].float() / 255
        found = classifier.network.features(unit)[0].numpy()
        np.testing.assert_allclose(sample.features[i], found, atol=1e-5)
        said = classifier.network(unit).softmax(1)[0].numpy()
        np.testing.assert_allclose(sample.probabilities[i], said, atol=1e-5)
        assert sample.predicted[i] == said.argmax()
    assert sample.unlabelled.labels is None


def changed(card: Card, **provenance: object) -> Card:
    return card.model_copy(update={"provenance": card.provenance.model_copy(update=provenance)})


def test_models_that_the_classifier_does_not_fit(tmp_path: Path, classifier_path: Path) -> None:
    letters = write_toy(tmp_path, "letters", side=28, classes=NAMES)
    assert judge_for(letters, classifier_path, None).class_names == NAMES
    emnist = changed(letters, dataset="emnist-balanced")
    assert judge_for(emnist, classifier_path, None).name == "tiny"
    padded = changed(write_toy(tmp_path, "padded", side=32), dataset="emnist-balanced")
    with pytest.raises(DatasetError) as caught:
        judge_for(padded, classifier_path, None)
    assert str(caught.value) == (
        "padded@1.0.0 makes images of 32x32x1, the classifier takes 28x28x1: measure it in "
        "Inception's features with --inception-weights"
    )
    others = write_toy(tmp_path / "more", "others", side=28, classes=("C", "B", "A"))
    with pytest.raises(DatasetError, match=r"^others@1.0.0 has other classes than the classifier"):
        judge_for(others, classifier_path, None)


def test_a_classifier_is_refused_where_inception_is_needed(
    tmp_path: Path, classifier_path: Path
) -> None:
    letters = write_toy(tmp_path, "letters", side=28, classes=NAMES)
    colour = write_toy(tmp_path, "colour", side=32, channels=3)
    weights = tmp_path / "weights.pth"
    for card, inception in (
        (changed(letters, dataset="cifar10"), None),
        (colour, None),
        (letters, weights),
    ):
        with pytest.raises(DatasetError) as caught:
            judge_for(card, classifier_path, inception)
        assert str(caught.value) == (
            f"--classifier: {card.reference} is measured in Inception's features; classifiers are "
            "for models of emnist-balanced, without --inception-weights"
        )


def test_which_classifier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundled = tmp_path / "bundled.pt"
    monkeypatch.setattr(features, "BUNDLED_CLASSIFIER", bundled)
    with pytest.raises(RunError) as caught:
        find_classifier(None)
    assert str(caught.value) == (
        "no classifier to measure with; train one: ganagerie train classifier-emnist "
        "--out runs/classifier, then add --classifier runs/classifier/classifier.pt"
    )
    bundled.write_bytes(b"")
    assert find_classifier(None) == bundled
    assert find_classifier(tmp_path / "mine.pt") == tmp_path / "mine.pt"
