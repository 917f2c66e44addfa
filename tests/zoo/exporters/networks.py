"""Small generators with random weights, and batch-norm statistics that are not trivial."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.exporters.graph import ServedGenerator
from zoo.nets import biggan, biggan_deep, dcgan
from zoo.nets.layers import StandingBatchNorm2d

N_KNOTS = 5
Z_DIM = 12


def randomised(network: nn.Module, n_knots: int) -> nn.Module:
    """In evaluation mode; the same every time. With statistics for each knot if there are any."""
    torch.manual_seed(0)
    for name, value in network.named_parameters():
        if value.dim() > 1:
            of_image = 0.1 if name == "conv.weight" else 1.0  # keeps the last tanh from saturating
            nn.init.normal_(value, 0.0, of_image * value[0].numel() ** -0.5)
        else:
            gain = "norm" in name and name.endswith("weight")
            nn.init.normal_(value, 1.0 if gain else 0.0, 0.4)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            (mean,), (variance,) = _statistics(1, layer)
            layer.running_mean, layer.running_var = mean, variance
            if isinstance(layer, StandingBatchNorm2d) and n_knots:
                layer.tabulate(*_statistics(n_knots, layer))
    return network.eval()


def served(network: nn.Module, n_classes: int, n_knots: int) -> ServedGenerator:
    """Ready to be exported."""
    return ServedGenerator(randomised(network, n_knots), Z_DIM, n_classes, n_knots).eval()


def big_gan(
    *,
    resolution: int = 28,
    channels: int = 1,
    ch: int = 8,
    n_classes: int = 3,
    shared_dim: int = 5,
    hierarchical_z: bool = True,
    attention: tuple[int, ...] = (),
    n_knots: int = N_KNOTS,
) -> ServedGenerator:
    """A BigGAN without spectral norm."""
    shape = biggan.Shape(
        resolution,
        channels,
        ch,
        n_classes,
        Z_DIM,
        shared_dim,
        hierarchical_z,
        attention,
        spectral_norm_g=False,
    )
    return served(biggan.Generator(shape), n_classes, n_knots)


def big_gan_deep(
    *,
    ch: int = 8,
    n_classes: int = 3,
    attention: tuple[int, ...] = (),
    n_knots: int = N_KNOTS,
) -> ServedGenerator:
    """A BigGAN-deep of 32 pixels, RGB, without spectral norm."""
    shape = biggan_deep.Shape(32, 3, ch, n_classes, Z_DIM, 5, attention, spectral_norm_g=False)
    made = served(biggan_deep.Generator(shape), n_classes, n_knots)
    with torch.no_grad():
        made.generator.get_submodule("conv").get_parameter("weight").mul_(0.5)  # for tanh
    return made


def dc_gan(*, linear_batch_norm: bool = True, channels: tuple[int, int, int]) -> ServedGenerator:
    """A DCGAN."""
    made = served(dcgan.Generator(Z_DIM, channels, 32, linear_batch_norm), 0, 0)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(2.5 if weight.dim() > 1 else 1.0)  # so that z outweighs the biases
    return made


def _statistics(rows: int, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    shape = (rows, layer.num_features)
    return torch.randn(shape) * 0.5, torch.rand(shape) + 0.2
