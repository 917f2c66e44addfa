"""BigGAN-deep (Brock, Donahue, Simonyan 2018, appendix B, figure 16 and tables 7 to 9).

    generator       z, class ─ linear ─ (block ─ block ↑) × stages ─ conv ─ tanh
    discriminator   image ─ conv ─ (block ↓ ─ block) × stages ─ ReLU, sum over pixels ─ projection

Every block of the generator sees the whole z beside the class embedding. The paper has tables for
128, 256 and 512 px; 32 and 64 are as in the authors' PyTorch code.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.nets.layers import (
    ConditionalBatchNorm2d,
    SelfAttention,
    StandingBatchNorm2d,
    UpsampleConv2d,
    projection_logits,
    spectral_norm,
)

BOTTOM = 4  # side of the generator's first feature map, pixels
RATIO = 4  # how many times fewer channels the 3x3 convolutions of a block have


@dataclass(frozen=True)
class Widths:
    """Channels of one resolution, in multiples of `ch`; a stage is two blocks.

    Attributes:
        generator: before the first stage, then after each; every stage doubles the side.
        discriminator: before the first stage, then after each.
        down: how many of the discriminator's stages, from the first, halve the side.
    """

    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    down: int


WIDTHS = {
    32: Widths((4, 4, 4, 4), (4, 4, 4, 4), 2),
    64: Widths((16, 16, 8, 4, 2), (1, 2, 4, 8, 16), 4),
    128: Widths((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
    256: Widths((16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 6),
    512: Widths((16, 16, 8, 8, 4, 2, 1, 1), (1, 1, 2, 4, 8, 8, 16, 16), 7),
}


@dataclass(frozen=True)
class Shape:
    """What both networks of a BigGAN-deep agree on.

    Attributes:
        resolution: side of the images, a key of `WIDTHS`.
        image_channels: 1 or 3.
        ch: width multiplier, a multiple of `RATIO`.
        n_classes: 0 for an unconditional model.
        z_dim: length of z.
        shared_dim: length of the class embedding that all blocks share.
        attention: sides of the feature maps that self-attention follows.
        spectral_norm_g: spectral norm in the generator; the discriminator always has it.

    Raises:
        ValueError: a value that no network has.
    """

    resolution: int
    image_channels: int
    ch: int
    n_classes: int
    z_dim: int
    shared_dim: int
    attention: tuple[int, ...]
    spectral_norm_g: bool = True

    def __post_init__(self) -> None:
        if self.resolution not in WIDTHS:
            known = ", ".join(map(str, WIDTHS))
            raise ValueError(f"resolution {self.resolution}: must be one of {known}")
        if self.ch < 1 or self.ch % RATIO:
            raise ValueError(
                f"ch {self.ch}: must be a multiple of {RATIO}, for blocks that narrow to a quarter"
            )
        if self.n_classes and self.shared_dim < 1:
            raise ValueError(f"shared_dim {self.shared_dim}: must be at least 1 where classes are")
        sides = [BOTTOM * 2**i for i in range(1, len(WIDTHS[self.resolution].generator))]
        if not set(self.attention) <= set(sides):
            raise ValueError(f"attention at {self.attention}: the feature maps have sides {sides}")


class Generator(nn.Module):
    """Maps latents and classes to images."""

    pixel_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, spectral = shape, shape.spectral_norm_g
        channels = [shape.ch * width for width in WIDTHS[shape.resolution].generator]
        shared_dim = shape.shared_dim if shape.n_classes else 0
        self.embedding = nn.Embedding(shape.n_classes, shared_dim) if shape.n_classes else None
        condition = shape.z_dim + shared_dim
        self.linear = spectral_norm(nn.Linear(condition, channels[0] * BOTTOM**2), spectral)
        self.blocks = nn.ModuleList()
        self.attentions = nn.ModuleDict()
        side = BOTTOM
        for before, after in pairwise(channels):
            self.blocks.append(GeneratorBlock(before, before, condition, False, spectral))
            self.blocks.append(GeneratorBlock(before, after, condition, True, spectral))
            side *= 2
            if side in shape.attention:
                self.attentions[str(len(self.blocks) - 1)] = SelfAttention(after, spectral)
        self.norm = StandingBatchNorm2d(channels[-1], affine=True)
        last = nn.Conv2d(channels[-1], shape.image_channels, 3, padding=1)
        self.conv = spectral_norm(last, spectral)

    def forward(
        self, z: Tensor, class_weights: Tensor | None = None, knots: Tensor | None = None
    ) -> Tensor:
        """Images float32 [N, C, H, W] in [-1, 1].

        Args:
            z: float32 [N, z_dim].
            class_weights: float32 [N, n_classes], one-hot or a mixture; None without classes.
            knots: float32 [N, K], see `StandingBatchNorm2d`; only in evaluation.
        """
        first, conditions = self.conditions(z, class_weights)
        h: Tensor = self.linear(first).unflatten(1, (-1, BOTTOM, BOTTOM))
        for i, (block, condition) in enumerate(zip(self.blocks, conditions, strict=True)):
            h = block(h, condition, knots)
            if str(i) in self.attentions:
                h = self.attentions[str(i)](h)
        h = self.conv(F.relu(self.norm(h, knots)))
        return h.float().tanh()

    def conditions(self, z: Tensor, class_weights: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """What the first layer sees, and each block: z beside the class embedding."""
        condition = z
        if self.embedding is not None and class_weights is not None:
            condition = torch.cat((z, class_weights @ self.embedding.weight), 1)
        return condition, [condition] * len(self.blocks)


class GeneratorBlock(nn.Module):
    """Residual bottleneck that may double the side (figure 16 b).

    The skip drops the last channels where fewer come out than go in.
    """

    def __init__(
        self, in_channels: int, out_channels: int, condition: int, up: bool, spectral: bool
    ) -> None:
        super().__init__()
        self.out_channels, self.up = out_channels, up
        hidden = in_channels // RATIO

        def norm(features: int) -> nn.Module:
            maps = (nn.Linear(condition, features, bias=False) for _ in range(2))
            return ConditionalBatchNorm2d(features, *(spectral_norm(m, spectral) for m in maps))

        self.norms = nn.ModuleList(map(norm, (in_channels, hidden, hidden, hidden)))
        convs = (
            nn.Conv2d(in_channels, hidden, 1),
            UpsampleConv2d(hidden, hidden) if up else nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.Conv2d(hidden, out_channels, 1),
        )
        self.convs = nn.ModuleList(spectral_norm(conv, spectral) for conv in convs)

    def forward(self, x: Tensor, condition: Tensor, knots: Tensor | None = None) -> Tensor:
        """[N, C_in, H, W] to [N, C_out, H, W], or twice the side."""
        h = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(F.relu(norm(h, condition, knots)))
        skip = x[:, : self.out_channels]
        if self.up:
            skip = F.interpolate(skip, scale_factor=2.0, mode="nearest")
        return h + skip


class Discriminator(nn.Module):
    """Maps images and their classes to one logit each: positive for real, negative for fake.

    The logit is ψ(φ(x)) + y·φ(x) (Miyato and Koyama 2018, equation 3).
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels = [shape.ch * width for width in WIDTHS[shape.resolution].discriminator]
        self.conv = spectral_norm(nn.Conv2d(shape.image_channels, channels[0], 3, padding=1))
        self.blocks = nn.ModuleList()
        self.attentions = nn.ModuleDict()
        side = shape.resolution
        for i, (before, after) in enumerate(pairwise(channels)):
            down = i < WIDTHS[shape.resolution].down
            self.blocks.append(DiscriminatorBlock(before, after, down))
            self.blocks.append(DiscriminatorBlock(after, after, False))
            side //= 2 if down else 1
            if down and side in shape.attention:
                self.attentions[str(len(self.blocks) - 1)] = SelfAttention(after, spectral=True)
        self.linear = spectral_norm(nn.Linear(channels[-1], 1))
        self.embedding = (
            spectral_norm(nn.Embedding(shape.n_classes, channels[-1])) if shape.n_classes else None
        )

    def forward(self, images: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """Images float32 [N, C, H, W] in [-1, 1], classes float32 [N, n_classes]: logits [N]."""
        h = self.conv(images)
        for i, block in enumerate(self.blocks):
            h = block(h)
            if str(i) in self.attentions:
                h = self.attentions[str(i)](h)
        return projection_logits(h, self.linear, self.embedding, class_weights)


class DiscriminatorBlock(nn.Module):
    """Residual bottleneck that may halve the side (figure 16 c).

    Where more channels come out than go in, a 1x1 convolution of the skip makes the others.
    """

    def __init__(self, in_channels: int, out_channels: int, down: bool) -> None:
        super().__init__()
        self.down = down
        hidden = out_channels // RATIO
        self.conv1 = spectral_norm(nn.Conv2d(in_channels, hidden, 1))
        self.conv2 = spectral_norm(nn.Conv2d(hidden, hidden, 3, padding=1))
        self.conv3 = spectral_norm(nn.Conv2d(hidden, hidden, 3, padding=1))
        self.conv4 = spectral_norm(nn.Conv2d(hidden, out_channels, 1))
        more = out_channels - in_channels
        self.more = spectral_norm(nn.Conv2d(in_channels, more, 1)) if more > 0 else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, H, W] to [N, C_out, H, W], or half the side."""
        h = F.relu(self.conv3(F.relu(self.conv2(F.relu(self.conv1(F.relu(x)))))))
        if self.down:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        if self.more is not None:
            x = torch.cat((x, self.more(x)), 1)
        out: Tensor = self.conv4(h) + x
        return out
