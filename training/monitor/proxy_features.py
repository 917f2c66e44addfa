"""Small feature spaces in which samples are compared with real images while a run trains.

Cheap stand-ins for the features of a large classifier: 64 numbers an image, each with mean 0 and
variance 1 over real images. Distances in one space compare only with each other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from zoo.nets.classifier import Classifier

DIM = 64
_CHANNELS = (16, 32, 64)
_GRID = 2  # what is left of an image's height and width
_BATCH = 256
_SEED = 2018

Extractor = Callable[[Tensor], Tensor]
"""Images float32 [N, C, H, W] in [0, 1] to features float32 [N, D]."""


def random_features(channels: int) -> Extractor:
    """A convolutional network with fixed random weights, the same in every run.

    Args:
        channels: of the images.
    """
    generator = torch.Generator().manual_seed(_SEED)
    kernels, before = [], channels
    for width in _CHANNELS:
        kernel = torch.randn(width, before, 3, 3, generator=generator)
        kernels.append(kernel / (before * 9 / 2) ** 0.5)  # He et al. 2015: keeps the variance
        before = width

    def extract(images: Tensor) -> Tensor:
        h = images * 2.0 - 1.0
        for kernel in kernels:
            h = F.relu(F.conv2d(h, kernel.to(h.device), stride=2, padding=1))
        return F.adaptive_avg_pool2d(h, _GRID).flatten(1)

    return extract


def classifier_features(network: Classifier) -> Extractor:
    """What a classifier's last layer sees."""

    def extract(images: Tensor) -> Tensor:
        return network.features(images.cpu())

    return extract


class ProxySpace:
    """Features projected to `DIM` axes and standardised over real images.

    Args:
        extract: from images to features.
        real: float32 [N, C, H, W] in [0, 1], N at least 2; decides means and deviations.
    """

    def __init__(self, extract: Extractor, real: Tensor) -> None:
        self._extract = extract
        self._projection: NDArray[np.float64] | None = None
        raw = self._raw(real)
        if raw.shape[1] > DIM:
            drawn = np.random.default_rng(_SEED).standard_normal((raw.shape[1], DIM))
            self._projection = np.linalg.qr(drawn)[0]
            raw = raw @ self._projection
        self._mean, self._std = raw.mean(axis=0), raw.std(axis=0)
        self._std[self._std < 1e-6 * self._std.max()] = 1.0  # an axis that tells nothing

    def __call__(self, images: Tensor) -> NDArray[np.float64]:
        """Images float32 [N, C, H, W] in [0, 1] to float64 [N, at most DIM]."""
        raw = self._raw(images)
        if self._projection is not None:
            raw = raw @ self._projection
        return np.asarray((raw - self._mean) / self._std)

    @torch.no_grad()
    def _raw(self, images: Tensor) -> NDArray[np.float64]:
        parts = [self._extract(part.float()).cpu() for part in torch.split(images, _BATCH)]
        return torch.cat(parts).double().numpy()
