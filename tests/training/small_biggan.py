"""A BigGAN small enough for a test, and images for it."""

from __future__ import annotations

import torch

from training.config import Recipe, load_recipe
from training.data import ImageSet

CLASSES = ("circle", "square", "star")
TINY = (
    "network.ch=8",
    "network.z_dim=12",
    "network.shared_dim=5",
    "batch_size=12",
    "precision=fp32",
)


def small(*overrides: str) -> Recipe:
    return load_recipe("biggan-emnist", [*TINY, *overrides])


def shapes(n: int = 60) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 1, 28, 28), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.arange(n) % 3, CLASSES)
