"""Shapes of the networks that recipes can name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]


class Frozen(BaseModel):
    """A part of a recipe: unknown keys, infinities and changes are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DcganConfig(Frozen):
    """Shape of the DCGAN in `zoo/nets/dcgan.py`."""

    architecture: Literal["dcgan"] = "dcgan"
    z_dim: Positive = 100
    channels: tuple[Positive, Positive, Positive] = (256, 128, 64)
    linear_features: Positive = 1024
    linear_batch_norm: bool = True
    discriminator_norm: Literal["batch", "spectral", "instance", "none"] = Field(
        "batch", description="of the discriminator's layers"
    )

    @property
    def resolution(self) -> int:
        """Side of the images, pixels."""
        return 28


class BigGanConfig(Frozen):
    """Shape of the BigGAN in `zoo/nets/biggan.py`; channels and classes are the data's."""

    architecture: Literal["biggan"]
    resolution: Literal[28, 32, 64, 128, 256, 512]
    ch: Positive = Field(96, description="width multiplier")
    z_dim: Positive = 120
    shared_dim: int = Field(128, ge=0, description="length of the shared class embedding; 0: none")
    hierarchical_z: bool = True
    attention: tuple[Positive, ...] = Field((), description="sides that self-attention follows")
    spectral_norm_g: bool = True


class BigGanDeepConfig(Frozen):
    """Shape of BigGAN-deep in `zoo/nets/biggan_deep.py`; channels and classes are the data's."""

    architecture: Literal["biggan-deep"]
    resolution: Literal[32, 64, 128, 256, 512]
    ch: Positive = Field(128, description="width multiplier")
    z_dim: Positive = 128
    shared_dim: Positive = 128
    attention: tuple[Positive, ...] = Field((), description="sides that self-attention follows")
    spectral_norm_g: bool = True


NetworkConfig = Annotated[
    DcganConfig | BigGanConfig | BigGanDeepConfig, Field(discriminator="architecture")
]

NETWORKS: dict[int | str, type[BaseModel]] = {
    "dcgan": DcganConfig,
    "biggan": BigGanConfig,
    "biggan-deep": BigGanDeepConfig,
}
