"""Nearest upsampling moved behind, or into, the convolution that follows it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.nets.layers import UpsampleConv2d, UpsampleShortcut


class PhaseConv2d(nn.Module):
    """Nearest upsampling by 2 and a 3x3 convolution, as four 2x2 convolutions of the small map.

    A pixel of an upsampled row is followed or preceded by its own copy, so two of the kernel's
    three taps fall on one pixel of the small map, and add up: the last two for even rows, the
    first two for odd ones. The same holds for columns. That is 4 products an output pixel instead
    of 9, as in the equal transposed convolution, without its scattered sums.
    """

    def __init__(self, convolution: UpsampleConv2d) -> None:
        super().__init__()
        self.bias = convolution.bias
        self.kernels = nn.ParameterList(
            _phase(_phase(convolution.weight, 2, row), 3, column).contiguous()
            for row in (0, 1)
            for column in (0, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, H, W] to [N, C_out, 2H, 2W]."""
        # Even rows see the pixel and the one before it, odd rows the pixel and the one after.
        even, odd = (
            [
                F.conv2d(
                    F.pad(x, (1 - column, column, 1 - row, row)),
                    self.kernels[2 * row + column],
                    self.bias,
                )
                for row in (0, 1)
            ]
            for column in (0, 1)
        )
        # Rows next to each other, [N, C_out, H, 2W], then columns in turns: reads in long runs.
        columns = torch.stack([torch.cat(even, 3), torch.cat(odd, 3)], 4)
        return columns.reshape(-1, columns.shape[1], 2 * x.shape[2], 2 * x.shape[3])


def _phase(kernel: Tensor, dim: int, odd: int) -> Tensor:
    """Sums the two of three taps along `dim` that fall on one pixel."""
    first, middle, last = kernel.unbind(dim)
    return torch.stack((first + middle, last) if odd else (first, middle + last), dim)


def upsample_by_phases(generator: nn.Module) -> nn.Module:
    """Computes each upsampling and its 3x3 convolution as a `PhaseConv2d`."""
    for parent in list(generator.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, UpsampleConv2d):
                setattr(parent, name, PhaseConv2d(layer))
    return generator


def shortcuts_before_upsampling(generator: nn.Module) -> nn.Module:
    """Puts the shortcuts' 1x1 convolutions before their upsampling, at a quarter of the work."""
    for layer in generator.modules():
        if isinstance(layer, UpsampleShortcut):
            layer.fused = True
    return generator
