"""The classifier: its network, its training, and its file."""

from __future__ import annotations

import math
import pickle
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from training.classifier import (
    CLASSIFIER,
    ClassifierRecipe,
    TrainedClassifier,
    accuracy,
    learning_rate,
    load_classifier,
    save_classifier,
    train_classifier,
)
from training.config import RECIPES
from training.data import ImageSet
from training.errors import DatasetError, DivergedError, RunError
from zoo.nets.classifier import Classifier, probabilities

CPU = torch.device("cpu")
NAMES = ("A", "B", "C")


def recipe(**values: object) -> ClassifierRecipe:
    plain = {"task": "classifier", "name": "tiny", "epochs": 2, "batch_size": 12}
    return ClassifierRecipe.model_validate(plain | values)


def bars(n: int, seed: int = 0, side: int = 28) -> ImageSet:
    """Noise, and a bright bar whose height is the class."""
    noise = torch.randint(0, 60, (n, 1, side, side), generator=torch.Generator().manual_seed(seed))
    images, labels = noise.to(torch.uint8), torch.arange(n) % 3
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 4 + 8 * label : 8 + 8 * label] = 200
    return ImageSet(images, labels, NAMES)


@dataclass(frozen=True)
class Interrupted(ImageSet):
    """Sends this process a signal when its n-th batch is drawn."""

    at: list[int]

    def batch(self, indices: Tensor) -> Tensor:
        self.at[0] -= 1
        if self.at[0] == 0:
            signal.raise_signal(signal.SIGINT)
        return super().batch(indices)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory; not to be changed."""
    out = tmp_path_factory.mktemp("classifier") / "run"
    train_classifier(recipe(), bars(36), bars(30, 1), out, CPU)
    return out


def test_network() -> None:
    network = Classifier(47).eval()
    images = torch.rand(3, 1, 28, 28)
    features = network.features(images)
    assert (features.shape, features.dtype) == ((3, 1024), torch.float32)
    assert features.min() == 0.0  # after ReLU
    assert torch.equal(network(images), network.head(features))
    assert network(images).shape == (3, 47)
    convolutions, dense = 25 * 32 + 25 * 32 * 64, 49 * 64 * 1024 + 1024 * 47 + 47
    batch_norms = 2 * (32 + 64 + 1024)
    assert sum(p.numel() for p in network.parameters()) == convolutions + dense + batch_norms


def test_probabilities_keep_small_classes() -> None:
    said = probabilities(torch.tensor([[0.0, -200.0]]))
    assert said.dtype == torch.float64
    assert said[0, 1].item() == pytest.approx(math.exp(-200))


def test_recipe_of_the_package() -> None:
    text = (RECIPES / "classifier-emnist.yaml").read_text()
    read = ClassifierRecipe.model_validate(yaml.safe_load(text))
    assert read.name == "classifier-emnist"
    assert ClassifierRecipe.model_validate(yaml.safe_load(read.to_yaml())) == read


def test_it_learns_and_the_file_has_the_very_accuracy(trained: Path) -> None:
    assert sorted(path.name for path in trained.iterdir()) == [CLASSIFIER, "config.yaml"]
    restored = load_classifier(trained / CLASSIFIER)
    assert (restored.recipe, restored.class_names, restored.epochs) == (recipe(), NAMES, 2)
    assert restored.test_samples == 30
    assert restored.test_accuracy == accuracy(restored.network, bars(30, 1))
    assert restored.test_accuracy > 0.6
    shuffled = replace(bars(30, 1), labels=(torch.arange(30) + 1) % 3)
    assert accuracy(restored.network, shuffled) < 0.4


def test_training_is_a_function_of_the_seed(trained: Path, tmp_path: Path) -> None:
    weights = load_classifier(trained / CLASSIFIER).network.head.weight
    for seed, same in ((1, True), (2, False)):
        out = tmp_path / str(seed)
        again = train_classifier(recipe(seed=seed), bars(36), bars(30, 1), out, CPU)
        assert again is not None
        assert torch.equal(again.network.head.weight, weights) is same


def test_rate_rises_to_its_height_and_falls_to_nothing() -> None:
    chosen = recipe(lr=0.5, warmup=0.1)
    rates = [learning_rate(chosen, itr, 100) for itr in range(100)]
    assert rates[:3] == pytest.approx([0.05, 0.1, 0.15])
    assert max(rates) == rates[10] == pytest.approx(0.5)
    assert rates[55] == pytest.approx(0.25)
    assert 0 < rates[99] < 0.001
    assert learning_rate(recipe(lr=0.5, warmup=0.0), 0, 100) == 0.5


def test_half_precision_weights_are_read(trained: Path, tmp_path: Path) -> None:
    state = torch.load(trained / CLASSIFIER, weights_only=True)
    half = {k: v.half() if v.is_floating_point() else v for k, v in state["weights"].items()}
    torch.save(state | {"weights": half}, tmp_path / "half.pt")
    read, whole = load_classifier(tmp_path / "half.pt"), load_classifier(trained / CLASSIFIER)
    images = torch.rand(2, 1, 28, 28)
    assert read.network(images).dtype == torch.float32
    assert torch.allclose(read.network(images), whole.network(images), atol=0.01)
    assert not read.network.training
    assert not any(p.requires_grad for p in read.network.parameters())


@pytest.mark.parametrize(("at", "epochs"), [(1, None), (3, None), (5, 1)])
def test_signal_leaves_whole_epochs(tmp_path: Path, at: int, epochs: int | None) -> None:
    data = bars(36)
    counted = Interrupted(data.images, data.labels, data.class_names, [at])
    ended = train_classifier(recipe(), counted, bars(6), tmp_path, CPU)
    left = {path.name for path in tmp_path.iterdir()}
    if epochs is None:
        assert ended is None
        assert left == {"config.yaml"}
    else:
        assert ended is not None
        assert left == {"config.yaml", CLASSIFIER}
        assert load_classifier(tmp_path / CLASSIFIER).epochs == ended.epochs == epochs


def test_failed_write_leaves_the_file_as_it_was(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = load_classifier(trained / CLASSIFIER)
    path = tmp_path / CLASSIFIER
    save_classifier(path, classifier)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_classifier(path, replace(classifier, epochs=9))
    assert path.read_bytes() == before


def test_nothing_is_overwritten(trained: Path) -> None:
    with pytest.raises(RunError) as caught:
        train_classifier(recipe(), bars(36), bars(6), trained, CPU)
    path = trained / CLASSIFIER
    assert str(caught.value) == f"{path} is there already; name another folder with --out"


def test_images_of_another_size(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        train_classifier(recipe(), bars(36, side=32), bars(6), tmp_path / "run", CPU)
    assert str(caught.value) == "images of 32x32x1: the classifier takes 28x28x1"
    with pytest.raises(DatasetError, match=r"^11 images are fewer than one batch of 12$"):
        train_classifier(recipe(), bars(11), bars(6), tmp_path / "run", CPU)
    assert not (tmp_path / "run").exists()


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/run: cannot be written: "):
        train_classifier(recipe(), bars(36), bars(6), tmp_path / "file" / "run", CPU)


def test_divergence_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        DivergedError, match=r"^iteration \d: loss (nan|inf); train at a lower rate"
    ):
        train_classifier(recipe(lr=1e30, warmup=0.0), bars(36), bars(6), tmp_path, CPU)
    assert not (tmp_path / CLASSIFIER).exists()


def test_files_that_are_no_classifier(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        load_classifier(tmp_path / "none.pt")
    assert str(caught.value) == f"no classifier {tmp_path / 'none.pt'}: there is no such file"

    (tmp_path / "code.pt").write_bytes(pickle.dumps(print))
    (tmp_path / "torn.pt").write_bytes((trained / CLASSIFIER).read_bytes()[:5000])
    torch.save({"itr": 3}, tmp_path / "checkpoint.pt")
    for name in ("code.pt", "torn.pt", "checkpoint.pt"):
        with pytest.raises(RunError, match=rf"{name} is not a readable classifier: "):
            load_classifier(tmp_path / name)


def test_saved_and_read_is_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Classifier(3).eval()
    save_classifier(
        tmp_path / "any-name.pt", TrainedClassifier(network, recipe(), NAMES, 7, 0.125, 8)
    )
    read = load_classifier(tmp_path / "any-name.pt")
    assert (read.epochs, read.test_accuracy, read.test_samples) == (7, 0.125, 8)
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(read.network(images), network(images))
