"""Distributions of initial weights, against theory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tests.training.conftest import tiny
from training.config import InitializerConfig, load_recipe
from training.errors import RecipeError
from training.initializers import Layer, fans, initialize
from training.state import TrainingState
from zoo.nets.classifier import Classifier
from zoo.nets.layers import spectral_norm

LAYERS: dict[str, tuple[Callable[[], Layer], int, int]] = {
    "linear": (lambda: nn.Linear(300, 500), 300, 500),
    "conv1d": (lambda: nn.Conv1d(60, 90, 5), 300, 450),
    "conv": (lambda: nn.Conv2d(30, 50, (3, 5), stride=2), 450, 750),
    "grouped": (lambda: nn.Conv2d(80, 120, 3, groups=4), 180, 270),
    "transposed": (lambda: nn.ConvTranspose2d(64, 32, 4, stride=2), 1024, 512),
    "embedding": (lambda: nn.Embedding(400, 120), 400, 120),
}


def drawn(layer: nn.Module, seed: int = 0, **config: Any) -> NDArray[np.float64]:
    """The weights of a layer, flat."""
    torch.manual_seed(seed)
    initialize(layer, InitializerConfig(**config))
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach().flatten().double().numpy()


def p_value(values: NDArray[np.float64], cdf: Callable[[Any], Any]) -> float:
    """Of Kolmogorov and Smirnov's test that `values` are of the distribution."""
    return float(stats.kstest(values, cdf, method="asymp").pvalue)


def folded(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """CDF of fmod(Z, 2): what lies 2k further out is added on either side."""
    k = np.arange(5)[:, None] * 2.0
    out: NDArray[np.float64] = (stats.norm.cdf(np.abs(x) + k) - stats.norm.cdf(k)).sum(0)
    return 0.5 + np.sign(x) * out


@pytest.mark.parametrize("kind", LAYERS)
def test_fans(kind: str) -> None:
    build, fan_in, fan_out = LAYERS[kind]
    assert fans(build()) == (fan_in, fan_out)


def test_fan_in_keeps_the_variance_of_a_transposed_convolution() -> None:
    """With stride 1: torch's count, which exchanges the fans, would halve or double it."""
    torch.manual_seed(3)
    layer = nn.ConvTranspose2d(128, 16, 3)
    initialize(layer, InitializerConfig(name="normal", fan="in"))
    inner = layer(torch.randn(8, 128, 12, 12))[..., 2:-2, 2:-2]
    assert inner.var().item() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    ("config", "distribution"),
    [
        ({"name": "normal"}, lambda i, o: stats.norm(0, 0.02)),
        ({"name": "normal", "std": 0.5, "gain": 3}, lambda i, o: stats.norm(0, 1.5)),
        (
            {"name": "normal", "fan": "in", "gain": 2},
            lambda i, o: stats.norm(0, 2 * i**-0.5),
        ),
        (
            {"name": "truncated-normal", "fan": "average"},
            lambda i, o: stats.truncnorm(-2, 2, 0, (2 / (i + o)) ** 0.5),
        ),
        ({"name": "truncated-normal"}, lambda i, o: stats.truncnorm(-2, 2, 0, 0.02)),
        (
            {"name": "glorot-uniform", "gain": math.sqrt(2)},
            lambda i, o: stats.uniform(-((12 / (i + o)) ** 0.5), 2 * (12 / (i + o)) ** 0.5),
        ),
        (
            {"name": "he-uniform", "gain": 0.5},
            lambda i, o: stats.uniform(-0.5 * (6 / i) ** 0.5, (6 / i) ** 0.5),
        ),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_weights_follow_the_distribution(
    kind: str, config: dict[str, Any], distribution: Any
) -> None:
    build, fan_in, fan_out = LAYERS[kind]
    weights, theory = drawn(build(), **config), distribution(fan_in, fan_out)
    assert p_value(weights, theory.cdf) > 1e-3
    assert weights.var() == pytest.approx(theory.var(), rel=0.03)
    assert abs(weights.mean()) < 4 * theory.std() / math.sqrt(len(weights))
    low, high = theory.support()
    assert low * (1 + 1e-6) <= weights.min() < 0 < weights.max() <= high * (1 + 1e-6)


def test_fmod_folds_instead_of_truncating() -> None:
    std = 0.1
    layer = nn.Linear(600, 1000)
    exact = drawn(layer, name="truncated-normal", std=std) / std
    fold = drawn(layer, name="truncated-normal-fmod", std=std) / std
    truncated = stats.truncnorm(-2, 2)
    assert p_value(exact, truncated.cdf) > 1e-3
    assert p_value(fold, folded) > 1e-3
    assert p_value(fold, truncated.cdf) < 1e-12
    assert p_value(exact, folded) < 1e-12
    assert abs(fold).max() < 2
    # What is beyond two, 4.55%, comes back near 0: its density there is higher, and the variance
    # lower.
    grid = np.linspace(0, 2, 20_001)
    theory = 2 * np.trapezoid(1 / 2 - (folded(grid) - 0.5), grid**2)
    assert fold.var() == pytest.approx(theory, rel=0.005)
    assert theory < 0.97 * truncated.var()
    near = (abs(fold) < 0.1).mean() / (abs(exact) < 0.1).mean()
    here = (folded(np.array([0.1])) - 0.5) / (truncated.cdf(0.1) - 0.5)
    assert near == pytest.approx(here[0], rel=0.03)
    assert here[0] > 1.05


@pytest.mark.parametrize("kind", LAYERS)
def test_torch_default_is_what_torch_draws(kind: str) -> None:
    build = LAYERS[kind][0]
    torch.manual_seed(11)
    theirs = build().state_dict()
    layer = build()
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    drawn(layer, 11, name="torch-default")
    assert layer.state_dict().keys() == theirs.keys()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, theirs[name])


def test_a_whole_network_starts_as_torch_has_it() -> None:
    torch.manual_seed(4)
    theirs = Classifier(3).state_dict()
    network = Classifier(3)
    torch.manual_seed(4)
    initialize(network, InitializerConfig(name="torch-default"))
    assert all(torch.equal(value, theirs[name]) for name, value in network.state_dict().items())


def test_torch_default_is_a_sixth_of_he() -> None:
    build, fan_in, _ = LAYERS["conv"]
    ours = drawn(build(), name="torch-default", gain=2.0)
    assert abs(ours).max() == pytest.approx(2 / math.sqrt(fan_in), rel=1e-3)
    assert drawn(build(), name="he-uniform").var() == pytest.approx(6 * ours.var() / 4, rel=0.03)


def test_orthogonal() -> None:
    layer = nn.Conv2d(8, 20, 3)
    drawn(layer, name="orthogonal", gain=1.5)
    rows = layer.weight.detach().flatten(1)
    torch.testing.assert_close(rows @ rows.T, 2.25 * torch.eye(20), atol=1e-5, rtol=0)


def test_linear_layers_may_start_otherwise() -> None:
    state = TrainingState(
        tiny(
            *("initializer.name=glorot-uniform", "initializer.gain=0.5"),
            *("initializer.linear.name=truncated-normal", "initializer.linear.std=0.3"),
        ),
        torch.device("cpu"),
    )
    convolutions = 0
    for layer in state.generator.modules():
        if isinstance(layer, nn.Linear):
            assert 0.4 < layer.weight.abs().max() <= 0.6
        elif isinstance(layer, nn.ConvTranspose2d):
            convolutions += 1
            bound = 0.5 * math.sqrt(6 / sum(fans(layer)))
            assert 0.8 * bound < layer.weight.abs().max() <= bound
            assert layer.bias is None or not layer.bias.any()
    assert convolutions == 3


def test_weights_behind_a_spectral_norm_are_set() -> None:
    layer = spectral_norm(nn.Linear(200, 200), True)
    initialize(layer, InitializerConfig(name="he-uniform"))
    assert parametrize.is_parametrized(layer)
    original = layer.parametrizations["weight"].original  # type: ignore[index, union-attr]
    assert original.abs().max().item() == pytest.approx(math.sqrt(6 / 200), rel=1e-2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("initializer.name=glorot", "initializer.name = 'glorot': Input should be 'normal', "),
        ("initializer.linear.nam=normal", r"initializer\.linear\.nam: unknown key; did you mean"),
        ("initializer.linear.gain=0", r"initializer\.linear\.gain = 0: "),
        ("initializer.fan=out", r"initializer\.fan = 'out': "),
    ],
)
def test_values_that_cannot_be(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("dcgan-emnist", [override])
