"""The DCGAN, small, trained from a start on digits, and measured by the Fréchet distance."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from training.batches import BatchSource
from training.classifier import load_classifier
from training.config import Recipe, load_recipe
from training.data import ImageSet
from training.draws import noise
from training.initializers import initialize
from training.losses import LOSSES
from training.metrics.features import describe, describe_images, find_classifier
from training.metrics.frechet import Gaussian, frechet_distance
from training.networks import GREY, build, pixel_range
from training.steps import Players, SimultaneousStep
from training.studies.initializer_starts import Ending, Start, optimizer_of

_PARTS = 20  # of a run, for its curve
_BATCH = 250  # of latents, when a generator is measured
_MEASURING = 2**60  # its latents are of no iteration


def recipe_of(
    channels: tuple[int, ...], linear_features: int, batch_size: int, seed: int
) -> Recipe:
    """That of the DCGAN, in a smaller network."""
    return load_recipe(
        "dcgan-emnist",
        [
            f"network.channels={list(channels)}",
            f"network.linear_features={linear_features}",
            f"batch_size={batch_size}",
            f"seed={seed}",
        ],
    )


class DcganRuns:
    """Runs of one recipe from several starts.

    Args:
        recipe: whose initialiser and optimiser are replaced.
        data: real images, 28x28 grey.
        samples: that are compared, real and generated.
        device: to train on.
    """

    def __init__(self, recipe: Recipe, data: ImageSet, samples: int, device: torch.device) -> None:
        self._recipe, self._data, self._samples, self._device = recipe, data, samples, device
        self._judge = load_classifier(find_classifier(None))
        chosen = torch.arange(min(samples, len(data)))
        self._real = Gaussian.fit(describe_images(self._judge, data, chosen).features)

    def train(self, start: Start, optimizer: str, itrs: int) -> Ending:
        """Trains; `losses` are G's, `score` is the Fréchet distance of the last generator."""
        recipe = self._recipe
        torch.manual_seed(recipe.seed)
        networks = build(recipe.network, GREY)
        for network in networks:
            initialize(network, start.config)
            network.to(self._device)
        generator, discriminator = networks
        rates, betas = recipe.optimizer, recipe.optimizer.betas
        step = SimultaneousStep(
            Players(
                generator,
                discriminator,
                optimizer_of(optimizer, generator, rates.g_lr, betas),
                optimizer_of(optimizer, discriminator, rates.d_lr, betas),
                LOSSES[recipe.loss],
            )
        )
        source = BatchSource(recipe, self._data, pixel_range(generator), self._device)
        ending, total, part = Ending(), 0.0, max(1, itrs // _PARTS)
        for itr in range(itrs):
            total += step(source.draw(itr))["loss_g"].item()
            if (itr + 1) % part == 0:
                ending.losses.append(total / part)
                total = 0.0
            if not math.isfinite(total):
                return ending
        ending.score = self._distance(generator)
        return ending

    def _distance(self, generator: torch.nn.Module) -> float:
        sample = describe(self._judge, self._images(generator), None)
        return frechet_distance(Gaussian.fit(sample.features), self._real)

    @torch.no_grad()
    def _images(self, generator: torch.nn.Module) -> Iterator[torch.Tensor]:
        """uint8, normalised by the statistics of their own batches, as in training."""
        z_dim = self._recipe.network.z_dim
        for first in range(0, self._samples, _BATCH):
            n = min(_BATCH, self._samples - first)
            z = noise(self._recipe.seed, _MEASURING + first // _BATCH, n, z_dim).to(self._device)
            yield generator(z).mul(255.0).round().to(torch.uint8).cpu()
