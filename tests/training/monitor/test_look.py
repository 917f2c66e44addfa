"""Looks at samples: what they tell, and that they change nothing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.small_biggan import shapes, small
from training.data import ImageSet
from training.monitor.look import FEWEST_IMAGES, Look
from training.monitor.proxy_features import DIM, ProxySpace, random_features
from training.networks import subject_of
from training.state import TrainingState

CPU = torch.device("cpu")


def squares(n: int, seed: int = 0) -> ImageSet:
    """Bright squares: class 0 on the left, class 1 on the right, each a little elsewhere."""
    rng = np.random.default_rng(seed)
    images = torch.zeros(n, 1, 28, 28, dtype=torch.uint8)
    labels = torch.arange(n) % 2
    for i in range(n):
        top, left = (int(v) for v in rng.integers(0, 6, 2))
        left += 14 * int(labels[i])
        images[i, 0, top : top + 8, left : left + 8] = 255
    return ImageSet(images, labels, ("left", "right"))


class Copycat(nn.Module):
    """Makes the images that it was given, whatever z is: of the class asked for."""

    pixel_range = (0.0, 1.0)

    def __init__(self, images: ImageSet, *, various: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self._of_class = [images.images[images.labels == i].float() / 255 for i in range(2)]
        self._various = various

    def forward(self, z: Tensor, class_weights: Tensor) -> Tensor:
        labels = class_weights.argmax(1)
        rows = []
        for i, label in enumerate(labels.tolist()):
            own = self._of_class[label]
            rows.append(own[i % max(1, int(len(own) * self._various))])
        return torch.stack(rows)


class Believer(nn.Module):
    """Takes everything for real."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor, class_weights: Tensor) -> Tensor:
        return self.weight.expand(len(images))


def look_at(train: ImageSet, held_out: ImageSet | None, samples: int = 64) -> Look:
    return Look(train, held_out, random_features(1), z_dim=5, conditional=True, samples=samples)


def test_perfect_samples_look_like_real_ones() -> None:
    look = look_at(squares(600), squares(100, seed=1))
    seen = look(Copycat(squares(200, seed=2)), Believer())
    assert seen["proxy_fid"] < 2 * seen["proxy_fid_real"]
    assert seen["diversity"] == {
        "within": pytest.approx(1.0, abs=0.15),
        "between": pytest.approx(1.0, abs=0.15),
    }
    assert seen["accuracy"] == {"train": 1.0, "held_out": 1.0, "fake": 0.0}


def test_samples_without_variety_are_seen() -> None:
    look = look_at(squares(600), None)
    seen = look(Copycat(squares(200, seed=2), various=0.0), Believer())
    assert seen["diversity"]["within"] == pytest.approx(0.0, abs=1e-9)
    assert 0.5 < seen["diversity"]["between"] < 1.5
    assert seen["proxy_fid"] > 3 * seen["proxy_fid_real"]
    assert seen["accuracy"].keys() == {"train", "fake"}


def test_held_out_images_of_other_classes_are_left_out() -> None:
    other = squares(40)
    other = ImageSet(other.images, other.labels, ("left", "top"))
    seen = look_at(squares(200), other)(Copycat(squares(50)), Believer())
    assert seen["accuracy"].keys() == {"train", "fake"}
    blind = Look(squares(200), other, random_features(1), z_dim=5, conditional=False, samples=64)
    assert blind._unseen is not None


def test_samples_that_are_not_finite_have_no_distance() -> None:
    class Broken(Copycat):
        def forward(self, z: Tensor, class_weights: Tensor) -> Tensor:
            return super().forward(z, class_weights) * float("nan")

    seen = look_at(squares(200), None)(Broken(squares(50)), Believer())
    assert seen.keys() == {"accuracy"}


def test_a_look_changes_nothing_and_repeats() -> None:
    state = TrainingState(small(), CPU, subject_of(shapes()))
    networks = (state.generator, state.discriminator)
    look = Look(shapes(), shapes(20), random_features(1), z_dim=12, conditional=True, samples=64)
    before = [copy.deepcopy(network.state_dict()) for network in networks]
    random = torch.get_rng_state()
    state.discriminator.eval()
    first, second = look(*networks), look(*networks)
    assert first == second
    assert torch.equal(torch.get_rng_state(), random)
    assert (state.generator.training, state.discriminator.training) == (True, False)
    for network, then in zip(networks, before, strict=True):
        assert all(torch.equal(then[key], value) for key, value in network.state_dict().items())


def test_as_few_images_as_there_may_be() -> None:
    look = look_at(squares(FEWEST_IMAGES), None)
    seen = look(Copycat(squares(50)), Believer())
    assert np.isfinite(seen["proxy_fid"])


def test_of_many_classes_some_are_shown() -> None:
    images = torch.randint(0, 256, (400, 1, 28, 28), dtype=torch.uint8)
    names, asked = tuple(f"c{i}" for i in range(100)), set[int]()
    data = ImageSet(images, torch.arange(400) % 100, names)

    class Noise(Copycat):
        def forward(self, z: Tensor, class_weights: Tensor) -> Tensor:
            assert class_weights.shape[1] == 100
            asked.update(class_weights.argmax(1).tolist())
            return torch.rand(len(z), 1, 28, 28, generator=torch.Generator().manual_seed(0))

    seen = look_at(data, None, samples=64)(Noise(squares(4)), Believer())
    assert len(asked) == 8
    assert np.isfinite(seen["proxy_fid"])


def test_features_are_standardised_over_real_images() -> None:
    real = squares(300).images.float() / 255
    features = ProxySpace(random_features(1), real)(real)
    assert features.shape == (300, DIM)
    assert np.abs(features.mean(axis=0)).max() < 1e-9
    spread = features.std(axis=0)
    assert spread.max() == pytest.approx(1.0, abs=1e-9)


def test_random_features_are_the_same_in_every_run() -> None:
    images = torch.rand(3, 3, 32, 32)
    torch.manual_seed(1)
    first = random_features(3)(images)
    torch.manual_seed(2)
    assert torch.equal(first, random_features(3)(images))
