"""From a recipe's network and the data's classes and channels to the two networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from training.data import Images
from training.errors import RecipeError
from training.network_config import BigGanDeepConfig, DcganConfig, NetworkConfig
from zoo.nets import biggan, biggan_deep, dcgan


@dataclass(frozen=True)
class Subject:
    """What the images of a run are: the part of a network's shape that the data decide.

    Attributes:
        class_names: in order of index; empty for an unconditional model.
        image_channels: 1 for grey, 3 for RGB.
    """

    class_names: tuple[str, ...] = ()
    image_channels: int = 1


GREY = Subject()


def subject_of(data: Images) -> Subject:
    """Classes and channels of a data set."""
    return Subject(data.class_names, data.channels)


def pixel_range(generator: nn.Module) -> tuple[float, float]:
    """What black and white are to a generator."""
    low, high = generator.pixel_range  # type: ignore[misc]  # torch types attributes of modules as Tensor or Module
    return float(low), float(high)


def build(config: NetworkConfig, subject: Subject) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator, freshly constructed.

    Raises:
        RecipeError: a combination of values that no network has.
    """
    try:
        if isinstance(config, DcganConfig):
            return (
                dcgan.Generator(
                    config.z_dim, config.channels, config.linear_features, config.linear_batch_norm
                ),
                dcgan.Discriminator(
                    config.channels, config.linear_features, config.discriminator_norm
                ),
            )
        values: dict[str, Any] = config.model_dump(exclude={"architecture"})
        values["image_channels"] = subject.image_channels
        values["n_classes"] = len(subject.class_names)
        if isinstance(config, BigGanDeepConfig):
            deep = biggan_deep.Shape(**values)
            return biggan_deep.Generator(deep), biggan_deep.Discriminator(deep)
        shape = biggan.Shape(**values)
        return biggan.Generator(shape), biggan.Discriminator(shape)
    except ValueError as error:
        raise RecipeError(f"network: {error}") from error
