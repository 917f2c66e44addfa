"""DCGAN for 28x28 images (Radford, Metz, Chintala 2015, section 3), with two linear layers first.

    generator       z ─ linear 1024 ─ linear 256·5·5 ─ 5×5 ─ 7×7 ─ 14×14 ─ 28×28
    discriminator   28×28 ─ 14×14 ─ 7×7 ─ 5×5 ─ linear 1024 ─ logit       (the mirror image)

Every layer but the outermost has batch norm. In the generator's linear layers it can be switched
off (`linear_batch_norm=False`), which is known to invite collapse and is kept as an experiment. In
the discriminator another normalisation can take its place (`norm`).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from zoo.nets.layers import spectral_norm

DiscriminatorNorm = Literal["batch", "spectral", "instance", "none"]

SIDE = 28  # height and width of the images, pixels
_SEED_SIDE = 5  # height and width of the first feature map


class Generator(nn.Module):
    """Maps latents to images.

    Args:
        z_dim: length of the latent vector.
        channels: feature maps at 5x5, 7x7 and 14x14.
        linear_features: width of the first linear layer.
        linear_batch_norm: batch norm after both linear layers.
    """

    pixel_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __init__(
        self,
        z_dim: int = 100,
        channels: tuple[int, int, int] = (256, 128, 64),
        linear_features: int = 1024,
        linear_batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.z_dim = z_dim
        c5, c7, c14 = channels
        flat = c5 * _SEED_SIDE**2
        self.linears = nn.Sequential(
            *_linear(z_dim, linear_features, nn.ReLU(), linear_batch_norm),
            *_linear(linear_features, flat, nn.ReLU(), linear_batch_norm),
        )
        self.unflatten = nn.Unflatten(1, (c5, _SEED_SIDE, _SEED_SIDE))
        self.convolutions = nn.Sequential(
            nn.ConvTranspose2d(c5, c7, 3, stride=1, bias=False),  # 5 -> 7
            nn.BatchNorm2d(c7),
            nn.ReLU(),
            nn.ConvTranspose2d(c7, c14, 4, stride=2, padding=1, bias=False),  # 7 -> 14
            nn.BatchNorm2d(c14),
            nn.ReLU(),
            nn.ConvTranspose2d(c14, 1, 4, stride=2, padding=1),  # 14 -> 28
        )

    def forward(self, z: Tensor) -> Tensor:
        """Latents float32 [N, z_dim] to images float32 [N, 1, 28, 28] in [0, 1]."""
        logits: Tensor = self.convolutions(self.unflatten(self.linears(z)))
        return logits.float().sigmoid()


class Discriminator(nn.Module):
    """Maps images to one logit each: positive for real, negative for fake.

    Args:
        channels: feature maps at 5x5, 7x7 and 14x14.
        linear_features: width of the first linear layer.
        norm: `batch`, of every layer but the outermost; `instance`, of the same convolutions, while
            the linear layer, whose features are single numbers, has none; `spectral`, of the weight
            of every layer (Miyato et al. 2018); or `none`.
    """

    def __init__(
        self,
        channels: tuple[int, int, int] = (256, 128, 64),
        linear_features: int = 1024,
        norm: DiscriminatorNorm = "batch",
    ) -> None:
        super().__init__()
        c5, c7, c14 = channels
        bias = norm in {"spectral", "none"}  # the others have a shift of their own
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, c14, 4, stride=2, padding=1),  # 28 -> 14
            nn.LeakyReLU(0.2),
            *_normed(nn.Conv2d(c14, c7, 4, stride=2, padding=1, bias=bias), norm),  # 14 -> 7
            *_normed(nn.Conv2d(c7, c5, 3, stride=1, bias=bias), norm),  # 7 -> 5
        )
        self.linears = nn.Sequential(
            nn.Flatten(),
            *_linear(c5 * _SEED_SIDE**2, linear_features, nn.LeakyReLU(0.2), norm == "batch"),
            nn.Linear(linear_features, 1),
        )
        if norm == "spectral":
            for layer in [*self.convolutions, *self.linears]:
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    spectral_norm(layer)

    def forward(self, images: Tensor) -> Tensor:
        """Images float32 [N, 1, 28, 28] in [0, 1] to logits float32 [N]."""
        logits: Tensor = self.linears(self.convolutions(images))
        return logits.float().squeeze(1)


def _linear(
    in_features: int, out_features: int, activation: nn.Module, batch_norm: bool
) -> list[nn.Module]:
    # Batch norm subtracts the mean, so a bias before it would do nothing.
    layers: list[nn.Module] = [nn.Linear(in_features, out_features, bias=not batch_norm)]
    if batch_norm:
        layers.append(nn.BatchNorm1d(out_features))
    return [*layers, activation]


def _normed(conv: nn.Conv2d, norm: DiscriminatorNorm) -> list[nn.Module]:
    layers: list[nn.Module] = [conv]
    if norm == "batch":
        layers.append(nn.BatchNorm2d(conv.out_channels))
    elif norm == "instance":
        layers.append(nn.InstanceNorm2d(conv.out_channels, affine=True))
    return [*layers, nn.LeakyReLU(0.2)]
