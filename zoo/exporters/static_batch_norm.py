"""Batch norms whose statistics do not change, folded into the layer before them."""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor, nn

from zoo.nets import biggan
from zoo.nets.layers import StandingBatchNorm2d


class Folded(nn.Module):
    """In the place of a norm that the layer before it has taken over."""

    def forward(self, x: Tensor, *_: object) -> Tensor:
        """X as it is."""
        return x


def fold_into_sequences(network: nn.Module) -> None:
    """Folds every norm of a `Sequential` into the linear layer or convolution before it."""
    for sequence in network.modules():
        if isinstance(sequence, nn.Sequential):
            for i in range(len(sequence) - 1):
                norm = sequence[i + 1]
                if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                    fold(norm, sequence[i])
                    sequence[i + 1] = Folded()


def fold_into_blocks(generator: biggan.Generator) -> None:
    """Folds the norms of a BigGAN that follow a convolution, or the sum that ends the last block.

    Not there where statistics follow the truncation or gains the class; nor at the end where
    attention comes between, since its input is also added to its output.
    """
    for block in generator.blocks:
        norm = block.get_submodule("norm2")
        if _is_static(norm):
            fold(norm, block.get_submodule("conv1"))
            block.register_module("norm2", Folded())
    last = len(generator.blocks) - 1
    if _is_static(generator.norm) and str(last) not in generator.attentions:
        block = generator.blocks[last]
        fold(generator.norm, block.get_submodule("conv2"), block.get_submodule("shortcut"))
        generator.register_module("norm", Folded())


@torch.no_grad()
def fold(norm: nn.BatchNorm1d | nn.BatchNorm2d, *summands: nn.Module) -> None:
    """Makes the sum of layers give what `norm`, in evaluation mode, makes of it.

    Args:
        norm: with running statistics; gains and biases are optional.
        summands: linear layers or convolutions without groups, whose outputs are added up.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics cannot be folded")
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.affine:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    if norm.affine:
        shift = shift + norm.bias
    for layer in summands:
        weight, bias = layer.get_parameter("weight"), getattr(layer, "bias", None)
        axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        shape = [1] * weight.dim()
        shape[axis] = -1
        layer.weight = nn.Parameter(weight * scale.view(shape))
        layer.bias = nn.Parameter(shift if bias is None else bias * scale + shift)
        shift = torch.zeros_like(shift)  # once


def _is_static(norm: nn.Module) -> TypeGuard[StandingBatchNorm2d]:
    return isinstance(norm, StandingBatchNorm2d) and norm.mean_table is None
