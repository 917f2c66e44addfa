"""BigGAN recipes that come with the package: values of their sources, and networks that fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from training.config import Recipe, load_recipe
from training.errors import RecipeError
from training.network_config import BigGanConfig, BigGanDeepConfig
from training.networks import Subject, build

EMNIST = Subject(tuple("abcdefg"), 1)
COLOUR = Subject(tuple("abcdefg"), 3)
SUBJECTS = {
    "biggan-emnist": EMNIST,
    "biggan-cifar10": COLOUR,
    "biggan-imagenet128": COLOUR,
    "biggan-deep-imagenet128": COLOUR,
}


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def of_the_paper(recipe: Recipe, batch_size: int, d_steps: int) -> None:
    """What all runs of the paper and of its code have in common, and two numbers."""
    assert recipe.loss == "hinge"
    assert recipe.optimizer.betas == (0.0, 0.999)
    assert recipe.ema.decay == 0.9999
    assert (recipe.batch_size, recipe.d_steps) == (batch_size, d_steps)
    assert recipe.flips


@pytest.mark.parametrize(("name", "subject"), SUBJECTS.items())
def test_networks_of_a_recipe_fit_each_other(name: str, subject: Subject) -> None:
    recipe = load_recipe(name, ["network.ch=8"])
    network = recipe.network
    assert isinstance(network, BigGanConfig | BigGanDeepConfig)
    generator, discriminator = (part.eval() for part in build(network, subject))
    classes = torch.eye(7)[[1, 4]]
    with torch.no_grad():
        images = generator(torch.randn(2, network.z_dim), classes)
        logits = discriminator(images, classes)
    side = network.resolution
    assert images.shape == (2, subject.image_channels, side, side)
    assert logits.shape == (2,)
    generator, discriminator = build(network, Subject((), subject.image_channels))
    with torch.no_grad():
        assert discriminator(generator(torch.randn(2, network.z_dim))).shape == (2,)


@pytest.mark.parametrize(
    ("name", "n_classes", "sizes"),
    [
        ("biggan-cifar10", 10, (4_304_387, 4_207_361)),
        ("biggan-imagenet128", 1000, (70_433_988, 87_982_370)),
        ("biggan-deep-imagenet128", 1000, (50_244_484, 34_590_210)),
    ],
)
def test_networks_have_their_published_sizes(
    monkeypatch: pytest.MonkeyPatch, name: str, n_classes: int, sizes: tuple[int, int]
) -> None:
    # It has no parameters, and costs seconds on this device.
    monkeypatch.setattr(parametrizations, "spectral_norm", lambda layer, **_: layer)
    with torch.device("meta"):
        networks = build(load_recipe(name).network, Subject(("class",) * n_classes, 3))
    assert tuple(map(count, networks)) == sizes


def test_cifar10_has_the_values_of_the_authors_code() -> None:
    recipe = load_recipe("biggan-cifar10")
    of_the_paper(recipe, batch_size=50, d_steps=4)
    assert recipe.dataset == "cifar10"
    assert (recipe.optimizer.g_lr, recipe.optimizer.d_lr) == (2e-4, 2e-4)
    assert recipe.optimizer.eps == 1e-8
    assert (recipe.initializer.name, recipe.initializer.std) == ("normal", 0.02)
    assert recipe.penalties.orthogonal == 0
    assert (recipe.ema.start_itr, recipe.epochs, recipe.accumulations) == (1000, 500, 1)


@pytest.mark.parametrize("name", ["biggan-imagenet128", "biggan-deep-imagenet128"])
def test_imagenet_has_the_values_of_the_paper(name: str) -> None:
    recipe = load_recipe(name)
    of_the_paper(recipe, batch_size=2048, d_steps=2)
    assert recipe.dataset == "images"
    assert (recipe.optimizer.g_lr, recipe.optimizer.d_lr) == (5e-5, 2e-4)
    assert recipe.optimizer.eps == 1e-6
    assert recipe.initializer.name == "orthogonal"
    assert recipe.penalties.orthogonal == 1e-4
    assert recipe.ema.start_itr == 20_000
    assert recipe.batch_size % recipe.accumulations == 0
    assert recipe.precision == "bf16"
    assert not recipe.fused_resampling
    assert isinstance(recipe.network, BigGanConfig | BigGanDeepConfig)
    assert recipe.network.attention == (64,)
    assert recipe.network.shared_dim == 128


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        (
            "biggan-deep-imagenet128",
            "network.ch=6",
            "network: ch 6: must be a multiple of 4, for blocks that narrow to a quarter",
        ),
        (
            "biggan-deep-imagenet128",
            "network.attention=[4]",
            "network: attention at (4,): the feature maps have sides [8, 16, 32, 64, 128]",
        ),
        (
            "biggan-imagenet128",
            "network.z_dim=128",
            "network: z_dim 128: hierarchical z of 128 px needs a multiple of 6, one chunk for "
            "the first layer and one for each block",
        ),
        (
            "biggan-imagenet128",
            "network.ch=6",
            "network: self-attention needs a multiple of 8 channels, not 12",
        ),
    ],
)
def test_networks_that_cannot_be_built(name: str, override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        build(load_recipe(name, [override]).network, COLOUR)
    assert str(caught.value) == message
