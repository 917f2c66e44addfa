"""What holds of both BigGANs: spectral norms, statistics for truncation, resampling, gradients."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from zoo.nets import biggan, biggan_deep
from zoo.nets.layers import (
    SelfAttention,
    StandingBatchNorm2d,
    fold_spectral_norm,
    fuse_resampling,
    normalised_weights,
    spectral_norm,
)

SHALLOW = biggan.Shape(32, 3, 2, 3, 8, 5, True, (16,))
DEEP = biggan_deep.Shape(32, 3, 4, 3, 6, 5, (16,))
NAMES = ("biggan", "biggan-deep")


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """A small generator and its discriminator, with attention that does something."""
    networks: tuple[nn.Module, nn.Module] = (
        (biggan.Generator(SHALLOW), biggan.Discriminator(SHALLOW))
        if name == "biggan"
        else (biggan_deep.Generator(DEEP), biggan_deep.Discriminator(DEEP))
    )
    for layer in (layer for network in networks for layer in network.modules()):
        if isinstance(layer, SelfAttention):
            nn.init.constant_(layer.gamma, 0.7)
    return networks


def inputs(name: str, n: int = 2) -> tuple[Tensor, Tensor]:
    shape = SHALLOW if name == "biggan" else DEEP
    return torch.randn(n, shape.z_dim), torch.eye(shape.n_classes)[torch.arange(n) % 3]


def normalised(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if parametrize.is_parametrized(m, "weight")]


def buffers_of(layer: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Raw weight as a matrix, and what power iteration remembers: u, v."""
    parametrization = layer.get_submodule("parametrizations.weight")
    norm = parametrization.get_submodule("0")
    original = parametrization.get_parameter("original").detach().flatten(1)
    return original, norm.get_buffer("_u").clone(), norm.get_buffer("_v").clone()


def close(actual: Tensor, expected: Tensor, relative: float = 1e-5) -> None:
    """Largest difference beside the largest value."""
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= relative * expected.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_knots_reach_every_batch_norm(name: str) -> None:
    generator = pair(name)[0].eval()
    norms = [m for m in generator.modules() if isinstance(m, StandingBatchNorm2d)]
    assert len(norms) == (7 if name == "biggan" else 25)
    for norm in norms:
        norm.tabulate(torch.zeros(2, norm.num_features), torch.ones(2, norm.num_features))
    arguments, second = inputs(name), torch.tensor([[0.0, 1.0]] * 2)
    with torch.no_grad():
        plain = generator(*arguments)
        close(generator(*arguments, second), plain)
        for norm in norms:
            table = norm.mean_table
            assert table is not None
            table[1] = -0.5
            assert not torch.allclose(generator(*arguments, second), plain, atol=1e-5)
            table[1] = 0.0


@pytest.mark.parametrize("name", NAMES)
def test_fused_networks_agree_with_unfused(name: str) -> None:
    arguments = inputs(name)
    results = []
    generator, discriminator = (network.eval() for network in pair(name))
    for fused in (True, False):
        for network in (generator, discriminator):
            fuse_resampling(network, fused)
            network.zero_grad()
        images = generator(*arguments)
        logits = discriminator(images, arguments[1])
        logits.sum().backward()
        grads = [p.grad for m in (generator, discriminator) for p in m.parameters()]
        results.append([images.detach(), logits.detach(), *(g for g in grads if g is not None)])
    assert len(results[0]) > 40
    for one, other in zip(*results, strict=True):
        close(one, other, 2e-5)


# Spectral norm


@pytest.mark.parametrize("name", NAMES)
def test_largest_singular_value_becomes_one(name: str) -> None:
    for network in pair(name):
        layers = normalised(network)
        with torch.no_grad():
            for layer in layers:
                for _ in range(120):
                    weight = layer.weight
                assert isinstance(weight, Tensor)
                largest = torch.linalg.svdvals(weight.flatten(1))[0]
                assert largest.item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_all_weights_are_normalised_but_the_class_embedding_of_g(name: str) -> None:
    for network in pair(name):
        plain = [
            module
            for module in network.modules()
            if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding)
            and not parametrize.is_parametrized(module, "weight")
        ]
        assert plain == ([network.embedding] if hasattr(network, "pixel_range") else [])


def test_spectral_norm_is_a_choice() -> None:
    layer = nn.Linear(3, 2)
    assert spectral_norm(layer, apply=False) is layer
    assert not parametrize.is_parametrized(layer)


@pytest.mark.parametrize("name", NAMES)
def test_one_power_iteration_a_pass_in_training_and_none_in_evaluation(name: str) -> None:
    generator, discriminator = pair(name)
    z, classes = inputs(name)
    layers = normalised(generator) + normalised(discriminator)
    for training in (True, False):
        generator.train(training)
        discriminator.train(training)
        before = [buffers_of(layer) for layer in layers]
        with torch.no_grad(), normalised_weights(generator, discriminator):
            discriminator(generator(z, classes), classes)
        for layer, (raw, u, v) in zip(layers, before, strict=True):
            if training:
                u = F.normalize(raw @ v, dim=0)
                v = F.normalize(raw.t() @ u, dim=0)
            _, new_u, new_v = buffers_of(layer)
            torch.testing.assert_close(new_u, u, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(new_v, v, rtol=1e-4, atol=1e-5)


def test_norms_stay_fp32_under_autocast() -> None:
    layer = spectral_norm(nn.Conv2d(8, 8, 3))
    before = buffers_of(layer)[1]
    with normalised_weights(layer):
        # Before anything can be cast: on a GPU autocast would reach the power iteration.
        raw, u, v = buffers_of(layer)
        assert not torch.equal(u, before)
        with torch.autocast("cpu", torch.bfloat16):
            weight, out = layer.weight, layer(torch.randn(1, 8, 3, 3))
    assert isinstance(weight, Tensor)
    assert (weight.dtype, out.dtype) == (torch.float32, torch.bfloat16)
    close(weight.detach().flatten(1), raw / (u @ raw @ v), 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_folding_keeps_the_function(name: str) -> None:
    z, classes = inputs(name)
    generator, discriminator = (network.eval() for network in pair(name))
    with torch.no_grad():
        images = generator(z, classes)
        logits = discriminator(images, classes)
        folded = copy.deepcopy(generator)
        for network in (folded, discriminator):
            assert normalised(network)
            fold_spectral_norm(network)
            assert not any(parametrize.is_parametrized(m) for m in network.modules())
            assert not any("parametrizations" in key for key in network.state_dict())
        assert torch.equal(folded(z, classes), images)
        assert torch.equal(discriminator(images, classes), logits)


# What the networks owe to training


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name: str) -> None:
    generator, discriminator = pair(name)
    z, classes = inputs(name, 6)
    discriminator(generator(z, classes), classes).square().sum().backward()
    for network in (generator, discriminator):
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            # Batch norm takes off what a bias before it adds.
            assert parameter.grad.any() or key.endswith("bias"), key


@pytest.mark.parametrize("name", NAMES)
def test_under_autocast_images_and_logits_are_fp32(name: str) -> None:
    generator, discriminator = pair(name)
    z, classes = inputs(name)
    with torch.autocast("cpu", torch.bfloat16):
        images = generator(z, classes)
        logits = discriminator(images, classes)
    assert images.dtype == logits.dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_image_is_independent_of_the_others_in_evaluation(name: str) -> None:
    generator = pair(name)[0].eval()
    z, classes = inputs(name, 3)
    with torch.no_grad():
        torch.testing.assert_close(generator(z[:1], classes[:1])[0], generator(z, classes)[0])
