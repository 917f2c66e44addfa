"""Two image classifiers whose normalisation is a choice: a plain one and a residual one.

    plain       3 x [conv w] ─ pool ─ 3 x [conv 2w] ─ pool ─ 3 x [conv 4w] ─ mean ─ linear
    residual    conv w ─ 3 blocks of w ─ 4 of 2w ─ 6 of 4w ─ norm ─ ReLU ─ mean ─ linear

Convolutions are 3x3; in the plain net each is followed by its norm and ReLU, and pooling halves the
sides by averages. Blocks are those of He et al. 2016, "Identity mappings in deep residual
networks", figure 4(e): norm, ReLU, convolution, twice, then the sum; the first block of a width
halves the sides by a stride, and its shortcut is a 1x1 convolution of the activated input.
"""

from __future__ import annotations

from typing import Final, Literal

from torch import Tensor, nn

from zoo.nets.layers import spectral_norm

Norm = Literal["batch", "instance", "spectral"]
Head = Literal["norm-relu", "norm"]

PLAIN_LAYERS: Final = 3
RESIDUAL_BLOCKS: Final = (3, 4, 6)


def convolution(
    norm: Norm, in_channels: int, out_channels: int, *, side: int = 3, stride: int = 1
) -> nn.Conv2d:
    """A convolution; spectral norm is of its weight as a matrix [out, in x side x side].

    Batch and instance norm have a shift of their own, so it has a bias only without them.
    """
    conv = nn.Conv2d(
        in_channels, out_channels, side, stride, padding=side // 2, bias=norm == "spectral"
    )
    spectral_norm(conv, norm == "spectral")
    return conv


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """What follows a convolution, with gain and shift; nothing for spectral norm."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    return nn.Identity()


class PlainNet(nn.Module):
    """Ten layers: nine convolutions and a linear one.

    Args:
        norm: of every convolution.
        n_classes: of images.
        width: channels of the first three convolutions; then twice, and four times as many.
        image_channels: 1 for grey, 3 for RGB.
    """

    def __init__(
        self, norm: Norm, n_classes: int, width: int = 64, image_channels: int = 3
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = image_channels
        for stage in range(3):
            channels = width * 2**stage
            if stage:
                layers.append(nn.AvgPool2d(2))
            for _ in range(PLAIN_LAYERS):
                layers += [
                    convolution(norm, before, channels),
                    normalisation(norm, channels),
                    nn.ReLU(),
                ]
                before = channels
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(before, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images float32 [N, C, H, W] to logits float32 [N, n_classes]."""
        logits: Tensor = self.head(self.body(images).mean((2, 3)))
        return logits


class Block(nn.Module):
    """x + conv(act(conv(act(x)))), where act is norm and ReLU."""

    def __init__(self, norm: Norm, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.act1 = nn.Sequential(normalisation(norm, in_channels), nn.ReLU())
        self.conv1 = convolution(norm, in_channels, out_channels, stride=stride)
        self.act2 = nn.Sequential(normalisation(norm, out_channels), nn.ReLU())
        self.conv2 = convolution(norm, out_channels, out_channels)
        self.shortcut = (
            convolution(norm, in_channels, out_channels, side=1, stride=stride)
            if in_channels != out_channels
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Float32 [N, in_channels, H, W] to [N, out_channels, H / stride, W / stride]."""
        activated = self.act1(x)
        kept = x if self.shortcut is None else self.shortcut(activated)
        out: Tensor = kept + self.conv2(self.act2(self.conv1(activated)))
        return out


class ResidualNet(nn.Module):
    """A pre-activation residual net.

    Args:
        norm: of every convolution.
        n_classes: of images.
        width: channels of the first blocks; then twice, and four times as many.
        image_channels: 1 for grey, 3 for RGB.
        head: before the mean over places, `norm-relu` as published, or `norm` alone.
    """

    def __init__(
        self,
        norm: Norm,
        n_classes: int,
        width: int = 64,
        image_channels: int = 3,
        head: Head = "norm-relu",
    ) -> None:
        super().__init__()
        self.stem = convolution(norm, image_channels, width)
        blocks: list[nn.Module] = []
        before = width
        for stage, count in enumerate(RESIDUAL_BLOCKS):
            channels = width * 2**stage
            for number in range(count):
                stride = 2 if stage and number == 0 else 1
                blocks.append(Block(norm, before, channels, stride))
                before = channels
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(
            normalisation(norm, before), nn.ReLU() if head == "norm-relu" else nn.Identity()
        )
        self.head = nn.Linear(before, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images float32 [N, C, H, W] to logits float32 [N, n_classes]."""
        logits: Tensor = self.head(self.last(self.blocks(self.stem(images))).mean((2, 3)))
        return logits


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """All convolutions by name, from the images to the logits."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}
