"""Convolutions in the form that onnxruntime computes fastest; each is the same linear map.

onnxruntime blocks the channels of ordinary convolutions to fit vector registers. Transposed ones
it computes as a matrix product and a scattered sum, which takes longer, except where few channels
come out: then blocking pads them to a whole register.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.nets.layers import UpsampleConv2d, box_2x2

LEAST_CHANNELS = 32  # coming out; below, phases were not faster (docs/benchmarks.md)


class PhaseConvolution(nn.Module):
    """A convolution whose output has twice the side, as four 2x2 convolutions and an interleaving.

    Pixels (2i + a, 2j + b) of the output are phase (a, b): they see the 2x2 pixels around (i, j)
    that lie towards their corner. Phase (a, b) has taps [a::2, b::2] of a 4x4 kernel.

    Args:
        layer: upsampling and a 3x3 convolution, or a 4x4 transposed one of stride 2 and padding 1.
    """

    def __init__(self, layer: UpsampleConv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.transposed = isinstance(layer, nn.ConvTranspose2d)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, H, W] to [N, C_out, 2H, 2W]."""
        # Computed here and not stored: the file keeps the smaller kernel.
        kernel = self.weight.transpose(0, 1).flip(2, 3) if self.transposed else box_2x2(self.weight)
        phases = [
            F.conv2d(F.pad(x, (1 - b, b, 1 - a, a)), kernel[:, :, a::2, b::2], self.bias)
            for a in (0, 1)
            for b in (0, 1)
        ]
        channels, (height, width) = len(kernel), x.shape[2:]
        # First rows, then columns: onnxruntime's DepthToSpace takes twice as long.
        rows = torch.cat(phases, 1).reshape(-1, 2, 2, channels * height, width)
        columns = rows.permute(0, 2, 3, 1, 4).reshape(-1, 2, channels * 2 * height * width)
        return columns.transpose(1, 2).reshape(-1, channels, 2 * height, 2 * width)


class FlippedConvolution(nn.Module):
    """A convolution of stride 1 as a transposed one, or the other way round: the kernel flipped.

    Args:
        layer: has stride 1, a square kernel and equal padding on all sides.
    """

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.transposed = isinstance(layer, nn.ConvTranspose2d)
        self.padding = layer.kernel_size[0] - 1 - int(layer.padding[0])

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, H, W] to what `layer` makes of it."""
        kernel = self.weight.transpose(0, 1).flip(2, 3)
        convolve = F.conv2d if self.transposed else F.conv_transpose2d
        return convolve(x, kernel, self.bias, padding=self.padding)


def phases_for_upsampling(network: nn.Module) -> nn.Module:
    """Replaces, in place, every upsampling convolution that has enough channels by its phases."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, UpsampleConv2d) and layer.out_channels >= LEAST_CHANNELS:
                parent.register_module(name, PhaseConvolution(layer))
    return network


def phases_for_transposed(network: nn.Module) -> nn.Module:
    """Replaces, in place, transposed convolutions that have enough channels by ordinary ones.

    Those of stride 2 that are 4x4 with padding 1 become phases, those of stride 1 are flipped.
    """
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if not isinstance(layer, nn.ConvTranspose2d) or layer.out_channels < LEAST_CHANNELS:
                continue
            if (layer.kernel_size, layer.stride, layer.padding) == ((4, 4), (2, 2), (1, 1)):
                parent.register_module(name, PhaseConvolution(layer))
            elif layer.stride == (1, 1):
                parent.register_module(name, FlippedConvolution(layer))
    return network
