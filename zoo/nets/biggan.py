"""BigGAN (Brock, Donahue, Simonyan 2018, appendix B, figure 15 and tables 4 to 6).

    generator       z_0 ─ linear ─ block ↑ (z_1, class) ─ block ↑ (z_2, class) ─ … ─ conv ─ tanh
    discriminator   image ─ block ↓ ─ block ↓ ─ … ─ ReLU, sum over pixels ─ linear + projection

Widths are multiples of `ch`; the tables below list them by resolution. 32 is the CIFAR-10 network
of the authors' PyTorch code, 28 a narrow one for EMNIST.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.nets.layers import (
    ConditionalBatchNorm2d,
    DownsampleConv2d,
    SelfAttention,
    StandingBatchNorm2d,
    UpsampleConv2d,
    UpsampleShortcut,
    projection_logits,
    spectral_norm,
)


@dataclass(frozen=True)
class Widths:
    """Channels of one resolution, in multiples of `ch`.

    Attributes:
        bottom: side of the generator's first feature map, pixels.
        generator: before the first block, then after each; every block doubles the side.
        discriminator: after each block.
        down: how many of the discriminator's blocks, from the first, halve the side.
    """

    bottom: int
    generator: tuple[int, ...]
    discriminator: tuple[int, ...]
    down: int


WIDTHS = {
    28: Widths(7, (4, 2, 1), (1, 2, 4), 2),
    32: Widths(4, (4, 4, 4, 4), (4, 4, 4, 4), 2),
    64: Widths(4, (16, 16, 8, 4, 2), (1, 2, 4, 8, 16), 4),
    128: Widths(4, (16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16), 5),
    256: Widths(4, (16, 16, 8, 8, 4, 2, 1), (1, 2, 4, 8, 8, 16, 16), 6),
    512: Widths(4, (16, 16, 8, 8, 4, 2, 1, 1), (1, 1, 2, 4, 8, 8, 16, 16), 7),
}


@dataclass(frozen=True)
class Shape:
    """What both networks of a BigGAN agree on.

    Attributes:
        resolution: side of the images, a key of `WIDTHS`.
        image_channels: 1 or 3.
        ch: width multiplier.
        n_classes: 0 for an unconditional model.
        z_dim: length of z; with `hierarchical_z` a multiple of the number of blocks plus one.
        shared_dim: length of the class embedding that all blocks share; 0 gives each batch norm
            an embedding of its own.
        hierarchical_z: z is split into a chunk for the first layer and one for each block.
        attention: sides of the feature maps that self-attention follows.
        spectral_norm_g: spectral norm in the generator; the discriminator always has it.
    """

    resolution: int
    image_channels: int
    ch: int
    n_classes: int
    z_dim: int
    shared_dim: int
    hierarchical_z: bool
    attention: tuple[int, ...]
    spectral_norm_g: bool = True

    def __post_init__(self) -> None:
        if self.resolution not in WIDTHS:
            known = ", ".join(map(str, WIDTHS))
            raise ValueError(f"resolution {self.resolution}: must be one of {known}")
        if self.hierarchical_z and self.z_dim % self.n_chunks:
            raise ValueError(
                f"z_dim {self.z_dim}: hierarchical z of {self.resolution} px needs a multiple of "
                f"{self.n_chunks}, one chunk for the first layer and one for each block"
            )
        sides = [self.widths.bottom * 2**i for i in range(1, self.n_chunks)]
        if not set(self.attention) <= set(sides):
            raise ValueError(f"attention at {self.attention}: the feature maps have sides {sides}")

    @property
    def widths(self) -> Widths:
        """Row of the table."""
        return WIDTHS[self.resolution]

    @property
    def n_chunks(self) -> int:
        """One for the first layer, one for each block of the generator."""
        return len(self.widths.generator)


class Generator(nn.Module):
    """Maps latents and classes to images."""

    pixel_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        widths, spectral = shape.widths, shape.spectral_norm_g
        channels = [shape.ch * width for width in widths.generator]
        first_z = shape.z_dim // shape.n_chunks if shape.hierarchical_z else shape.z_dim
        block_z = first_z if shape.hierarchical_z else 0
        shared = shape.n_classes > 0 and shape.shared_dim > 0
        self.embedding = nn.Embedding(shape.n_classes, shape.shared_dim) if shared else None
        condition = block_z + (shape.shared_dim if shared else shape.n_classes)
        self.linear = spectral_norm(
            nn.Linear(first_z, channels[0] * widths.bottom**2), apply=spectral
        )
        self.blocks = nn.ModuleList()
        self.attentions = nn.ModuleDict()
        side = widths.bottom
        for i in range(len(channels) - 1):
            self.blocks.append(
                GeneratorBlock(channels[i], channels[i + 1], condition, spectral, shared)
            )
            side *= 2
            if side in shape.attention:
                self.attentions[str(i)] = SelfAttention(channels[i + 1], spectral)
        self.norm = StandingBatchNorm2d(channels[-1], affine=True)
        self.conv = spectral_norm(
            nn.Conv2d(channels[-1], shape.image_channels, 3, padding=1), apply=spectral
        )

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
        bottom = self.shape.widths.bottom
        h: Tensor = self.linear(first).unflatten(1, (-1, bottom, bottom))
        for i, (block, condition) in enumerate(zip(self.blocks, conditions, strict=True)):
            h = block(h, condition, knots)
            if str(i) in self.attentions:
                h = self.attentions[str(i)](h)
        h = self.conv(F.relu(self.norm(h, knots)))
        return h.float().tanh()

    def conditions(self, z: Tensor, class_weights: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """What the first layer sees, and each block: its chunk of z beside the class embedding."""
        n_blocks = len(self.blocks)
        chunks = [z, *[z[:, :0]] * n_blocks]
        if self.shape.hierarchical_z:
            chunks = list(z.chunk(self.shape.n_chunks, dim=1))
        if class_weights is None:
            return chunks[0], chunks[1:]
        if self.embedding is not None:
            class_weights = class_weights @ self.embedding.weight
        return chunks[0], [torch.cat((chunk, class_weights), 1) for chunk in chunks[1:]]


class GeneratorBlock(nn.Module):
    """Residual block that doubles the side (figure 15 b)."""

    def __init__(
        self, in_channels: int, out_channels: int, condition: int, spectral: bool, shared: bool
    ) -> None:
        super().__init__()

        def norm(features: int) -> nn.Module:
            if condition == 0:
                return StandingBatchNorm2d(features, affine=True)
            # Embeddings of their own are not normalised, projections of a shared one are.
            gain, bias = (
                spectral_norm(nn.Linear(condition, features, bias=False), spectral and shared)
                for _ in range(2)
            )
            return ConditionalBatchNorm2d(features, gain, bias)

        self.norm1, self.norm2 = norm(in_channels), norm(out_channels)
        self.conditional = condition > 0
        self.conv1 = spectral_norm(UpsampleConv2d(in_channels, out_channels), spectral)
        self.conv2 = spectral_norm(nn.Conv2d(out_channels, out_channels, 3, padding=1), spectral)
        self.shortcut = spectral_norm(UpsampleShortcut(in_channels, out_channels), spectral)

    def forward(self, x: Tensor, condition: Tensor, knots: Tensor | None = None) -> Tensor:
        """[N, C_in, H, W] to [N, C_out, 2H, 2W]."""
        arguments = (condition, knots) if self.conditional else (knots,)
        h = self.conv1(F.relu(self.norm1(x, *arguments)))
        h = self.conv2(F.relu(self.norm2(h, *arguments)))
        out: Tensor = h + self.shortcut(x)
        return out


class Discriminator(nn.Module):
    """Maps images and their classes to one logit each: positive for real, negative for fake.

    The logit is ψ(φ(x)) + y·φ(x) (Miyato and Koyama 2018, equation 3).
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels = [shape.image_channels, *(shape.ch * w for w in shape.widths.discriminator)]
        self.blocks = nn.ModuleList()
        self.attentions = nn.ModuleDict()
        side = shape.resolution
        for i in range(len(channels) - 1):
            down = i < shape.widths.down
            self.blocks.append(DiscriminatorBlock(channels[i], channels[i + 1], down, first=i == 0))
            side //= 2 if down else 1
            if down and side in shape.attention:
                self.attentions[str(i)] = SelfAttention(channels[i + 1], spectral=True)
        self.linear = spectral_norm(nn.Linear(channels[-1], 1))
        self.embedding = (
            spectral_norm(nn.Embedding(shape.n_classes, channels[-1])) if shape.n_classes else None
        )

    def forward(self, images: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """Images float32 [N, C, H, W] in [-1, 1], classes float32 [N, n_classes]: logits [N]."""
        h = images
        for i, block in enumerate(self.blocks):
            h = block(h)
            if str(i) in self.attentions:
                h = self.attentions[str(i)](h)
        return projection_logits(h, self.linear, self.embedding, class_weights)


class DiscriminatorBlock(nn.Module):
    """Residual block that may halve the side (figure 15 c); the first has no ReLU before it."""

    def __init__(self, in_channels: int, out_channels: int, down: bool, first: bool) -> None:
        super().__init__()
        self.first, self.down = first, down
        self.conv1 = spectral_norm(nn.Conv2d(in_channels, out_channels, 3, padding=1))
        self.conv2 = spectral_norm(
            DownsampleConv2d(out_channels, out_channels)
            if down
            else nn.Conv2d(out_channels, out_channels, 3, padding=1)
        )
        projects = down or in_channels != out_channels
        self.shortcut = spectral_norm(nn.Conv2d(in_channels, out_channels, 1)) if projects else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, H, W] to [N, C_out, H, W], or half the side."""
        h: Tensor = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        # Average pooling commutes with a 1x1 convolution, and before it leaves it a quarter.
        shortcut = F.avg_pool2d(x, 2) if self.down else x
        if self.shortcut is not None:
            shortcut = self.shortcut(shortcut)
        return h + shortcut
