"""The generator's last batch norm and convolution."""

from __future__ import annotations

import torch
from torch import nn

from zoo.nets import biggan

_FEW = 4
"""Output channels; onnxruntime's convolution computes blocks of 8 or 16 and throws the rest away"""


def transposed_output(generator: nn.Module) -> nn.Module:
    """Computes 3x3 convolutions to an image's few channels as transposed convolutions.

    Both are the same sums with the kernel turned round. The transposed one is a small matrix
    product, 9 times the output channels high, and a sum of its shifted rows.
    """
    for parent in list(generator.modules()):
        for name, layer in parent.named_children():
            if (
                type(layer) is nn.Conv2d
                and layer.out_channels <= _FEW
                and (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (1, 1))
                and (layer.dilation, layer.groups, layer.padding_mode) == ((1, 1), 1, "zeros")
            ):
                setattr(parent, name, _transposed(layer))
    return generator


def _transposed(layer: nn.Conv2d) -> nn.ConvTranspose2d:
    transposed = nn.ConvTranspose2d(
        layer.in_channels, layer.out_channels, 3, padding=1, bias=layer.bias is not None
    )
    with torch.no_grad():
        transposed.weight.copy_(layer.weight.flip(2, 3).transpose(0, 1))
        if layer.bias is not None and transposed.bias is not None:
            transposed.bias.copy_(layer.bias)
    return transposed


@torch.no_grad()
def fold_output_norm(generator: nn.Module) -> nn.Module:
    """Folds a BigGAN's last batch norm into the two convolutions whose sum it normalises.

    Not where its statistics follow the truncation, nor where attention stands in between.
    """
    if not isinstance(generator, biggan.Generator) or generator.norm.mean_table is not None:
        return generator
    last = len(generator.blocks) - 1
    if str(last) in generator.attentions:
        return generator
    norm, block = generator.norm, generator.blocks[last]
    mean, variance = norm.statistics(None)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    for layer in (block.conv2, block.shortcut):
        layer.weight.mul_(scale[:, None, None, None])  # type: ignore[union-attr, operator]  # torch types attributes of modules as Tensor or Module
        layer.bias.mul_(scale)  # type: ignore[union-attr, operator]  # the same
    block.conv2.bias.add_(norm.bias - mean * scale)  # type: ignore[union-attr, operator]  # the same
    generator.norm = _Identity()  # type: ignore[assignment]  # takes and gives what the norm does
    return generator


class _Identity(nn.Identity):
    """Ignores the knots."""
