"""DCGAN's shapes, sizes, and what an image depends on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from zoo.nets.dcgan import SIDE, Discriminator, DiscriminatorNorm, Generator

TINY = (16, 8, 4)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def stages(network: nn.Module, given: Tensor) -> list[tuple[int, ...]]:
    """Shape behind each layer with weights, without the batch."""
    shapes: list[tuple[int, ...]] = []
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda *a: shapes.append(tuple(a[2].shape[1:])))
    network(given)
    return shapes


def test_generator_stages() -> None:
    shapes = stages(Generator(100, TINY, 32), torch.randn(2, 100))
    assert shapes == [(32,), (16 * 25,), (8, 7, 7), (4, 14, 14), (1, 28, 28)]


def test_discriminator_mirrors_the_generator() -> None:
    shapes = stages(Discriminator(TINY, 32), torch.rand(2, 1, 28, 28))
    assert shapes == [(4, 14, 14), (8, 7, 7), (16, 5, 5), (32,), (1,)]


def test_default_sizes() -> None:
    shapes = stages(Generator(), torch.randn(2, 100))
    assert shapes == [(1024,), (6400,), (128, 7, 7), (64, 14, 14), (1, 28, 28)]
    shapes = stages(Discriminator(), torch.rand(2, 1, 28, 28))
    assert shapes == [(64, 14, 14), (128, 7, 7), (256, 5, 5), (1024,), (1,)]


def test_parameter_counts() -> None:
    assert count(Generator()) == 7_098_241
    assert count(Generator(linear_batch_norm=False)) == 7_090_817
    assert count(Discriminator()) == 6_984_513
    assert count(Generator(100, TINY, 32)) == 18_617
    assert count(Discriminator(TINY, 32)) == 14_677


@pytest.mark.parametrize("n", [2, 5])
def test_images_lie_in_the_unit_range(n: int) -> None:
    torch.manual_seed(0)
    generator = Generator(10, TINY, 32)
    for factor in (1.0, 1e6):
        images = generator(factor * torch.randn(n, 10))
        assert images.shape == (n, 1, SIDE, SIDE)
        assert images.dtype == torch.float32
        assert 0 <= images.min() < images.max() <= 1


@pytest.mark.parametrize("n", [2, 5])
def test_logits(n: int) -> None:
    logits = Discriminator(TINY, 32)(torch.rand(n, 1, SIDE, SIDE))
    assert (logits.shape, logits.dtype) == ((n,), torch.float32)


def test_one_image_gets_one_logit_in_evaluation() -> None:
    assert Discriminator(TINY, 32).eval()(torch.rand(1, 1, SIDE, SIDE)).shape == (1,)
    assert Generator(10, TINY, 32).eval()(torch.randn(1, 10)).shape == (1, 1, SIDE, SIDE)


def norms(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(layer, kind) for layer in network.modules())


def biased(network: nn.Module) -> list[bool]:
    return [layer.bias is not None for layer in network.modules() if isinstance(layer, nn.Linear)]


def test_batch_norm_of_linear_layers_is_a_choice() -> None:
    normed, plain = Generator(10, TINY, 32), Generator(10, TINY, 32, linear_batch_norm=False)
    assert norms(normed, nn.BatchNorm1d) == 2
    assert norms(plain, nn.BatchNorm1d) == 0
    assert norms(normed, nn.BatchNorm2d) == norms(plain, nn.BatchNorm2d) == 2
    assert biased(normed) == [False, False]
    assert biased(plain) == [True, True]


def test_outermost_layers_have_no_batch_norm() -> None:
    last = list(Generator(10, TINY, 32).convolutions)[-1]
    assert isinstance(last, nn.ConvTranspose2d)
    assert last.bias is not None
    first, second = list(Discriminator(TINY, 32).convolutions)[:2]
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    assert isinstance(second, nn.LeakyReLU)
    assert second.negative_slope == 0.2


@pytest.mark.parametrize("linear_batch_norm", [True, False])
def test_image_is_independent_of_the_others_in_evaluation(*, linear_batch_norm: bool) -> None:
    torch.manual_seed(0)
    generator = Generator(10, TINY, 32, linear_batch_norm)
    z, other = torch.randn(4, 10), torch.randn(4, 10)
    other[0] = z[0]
    in_training = generator(z)[0], generator(other)[0]
    assert not torch.allclose(*in_training)
    generator.eval()
    with torch.no_grad():
        assert torch.equal(generator(z)[0], generator(other)[0])
        torch.testing.assert_close(generator(z[:1])[0], generator(z)[0])


def test_logit_is_independent_of_the_others_in_evaluation() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(TINY, 32)
    images, other = torch.rand(4, 1, SIDE, SIDE), torch.rand(4, 1, SIDE, SIDE)
    other[0] = images[0]
    assert not torch.allclose(discriminator(images)[0], discriminator(other)[0])
    discriminator.eval()
    with torch.no_grad():
        assert torch.equal(discriminator(images)[0], discriminator(other)[0])
        torch.testing.assert_close(discriminator(images[:1])[0], discriminator(images)[0])


def test_under_autocast_images_and_logits_are_fp32() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        images = Generator(10, TINY, 32)(torch.randn(2, 10))
        logits = Discriminator(TINY, 32)(images)
    assert images.dtype == logits.dtype == torch.float32


def test_gradients_reach_every_parameter() -> None:
    generator, discriminator = Generator(10, TINY, 32), Discriminator(TINY, 32)
    discriminator(generator(torch.randn(8, 10))).square().sum().backward()
    for network in (generator, discriminator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name


@pytest.mark.parametrize(
    ("norm", "batch", "instance"), [("batch", 3, 0), ("instance", 0, 2), ("none", 0, 0)]
)
def test_normalisation_of_the_discriminator_is_a_choice(
    norm: DiscriminatorNorm, batch: int, instance: int
) -> None:
    network = Discriminator(TINY, 32, norm)
    assert norms(network, nn.BatchNorm1d) + norms(network, nn.BatchNorm2d) == batch
    assert norms(network, nn.InstanceNorm2d) == instance
    assert not any(map(parametrize.is_parametrized, network.modules()))
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    own_shift = norm == "none"
    assert [layer.bias is not None for layer in convolutions] == [True, own_shift, own_shift]
    assert biased(network) == [norm != "batch", True]
    assert network(torch.rand(2, 1, SIDE, SIDE)).shape == (2,)


def test_spectral_norm_bounds_every_layer_of_the_discriminator() -> None:
    torch.manual_seed(0)
    network = Discriminator(TINY, 32, "spectral")
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 5
    for _ in range(20):  # of power iteration
        network(torch.rand(2, 1, SIDE, SIDE))
    for layer in layers:
        sigma = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
        assert sigma.item() == pytest.approx(1.0, abs=0.02)
        assert layer.bias is not None
    assert norms(network, nn.BatchNorm1d) + norms(network, nn.BatchNorm2d) == 0


def test_batch_norm_is_the_default_of_the_discriminator() -> None:
    torch.manual_seed(3)
    usual = Discriminator(TINY, 32).state_dict()
    torch.manual_seed(3)
    named = Discriminator(TINY, 32, "batch").state_dict()
    assert list(usual) == list(named)
    assert all(torch.equal(usual[key], named[key]) for key in usual)
    # The names of checkpoints from before there was a choice.
    assert {key.rpartition(".")[0] for key in usual} == {
        *("convolutions.0", "convolutions.2", "convolutions.3", "convolutions.5"),
        *("convolutions.6", "linears.1", "linears.2", "linears.4"),
    }
