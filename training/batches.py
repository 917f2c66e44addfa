"""What an iteration consumes, drawn as functions of (seed, itr): nothing here has a state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from training.config import Recipe
from training.data import BatchOrder, ImageSet, classes, g_noise, noise, to_range
from training.steps import Draw, Inputs

_FIXED = 2**62  # iterations of the noise for sample grids begin here
_STATISTICS_BATCH = 128


class BatchSource:
    """Real batches and latents of every iteration, on the device where they are used.

    Raises:
        DatasetError: fewer images than one batch.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: ImageSet,
        pixel_range: tuple[float, float],
        device: torch.device,
    ) -> None:
        self._recipe = recipe
        self._data = data
        self._range = pixel_range
        self._device = device
        self._order = BatchOrder(len(data), recipe.batch_size, recipe.seed)
        self._alternates = recipe.network.architecture != "dcgan"
        self.images_per_itr = recipe.d_steps * recipe.batch_size
        self.itrs_per_epoch = self._order.batches_per_epoch / recipe.d_steps

    def draw(self, itr: int) -> Draw:
        """Everything that iteration `itr`, counted from 0, consumes."""
        real: list[Inputs] = []
        d_fake: list[Inputs] = []
        for i in range(itr * self._recipe.d_steps, (itr + 1) * self._recipe.d_steps):
            real += self._parts(self._real(i))
            d_fake += self._parts(self._with_classes(noise(*self._noise_arguments(i)), 2 * i))
        g_fake: list[Inputs] = []
        if self._alternates:
            z = g_noise(*self._noise_arguments(itr))
            g_fake = self._parts(self._with_classes(z, 2 * itr + 1))
        return Draw(itr, real, d_fake, g_fake)

    def samples(self, columns: int, rows: int) -> Inputs:
        """Latents and classes of a sample grid: a row a class where there are classes."""
        z = noise(self._recipe.seed, _FIXED, columns * rows, self._recipe.network.z_dim)
        n_classes = self.n_classes
        if not n_classes:
            return (z.to(self._device),)
        shown = torch.linspace(0, n_classes - 1, rows).round().long().repeat_interleave(columns)
        return z.to(self._device), one_hot(shown, n_classes).to(self._device)

    def statistics(self, batches: int) -> list[Inputs]:
        """Latents and classes as they are served, for `standing_statistics`."""
        return [
            tuple(t.to(self._device) for t in served_inputs(self._recipe, self.n_classes, i))
            for i in range(batches)
        ]

    @property
    def n_classes(self) -> int:
        """0 for an unconditional model."""
        return len(self._data.class_names) if self._alternates else 0

    def _real(self, batch: int) -> Inputs:
        chosen = self._order.indices(batch)
        images = to_range(self._data.images[chosen], self._range)
        if not self.n_classes:
            return (images,)
        return images, one_hot(self._data.labels[chosen], self.n_classes)

    def _with_classes(self, z: Tensor, counter: int) -> Inputs:
        if not self.n_classes:
            return (z,)
        drawn = classes(self._recipe.seed, counter, len(z), self.n_classes)
        return z, one_hot(drawn, self.n_classes)

    def _noise_arguments(self, batch: int) -> tuple[int, int, int, int]:
        recipe = self._recipe
        return recipe.seed, batch, recipe.batch_size, recipe.network.z_dim

    def _parts(self, inputs: Inputs) -> list[Inputs]:
        split: Sequence[tuple[Tensor, ...]] = [
            tensor.to(self._device).chunk(self._recipe.accumulations) for tensor in inputs
        ]
        return list(zip(*split, strict=True))


def one_hot(labels: Tensor, n_classes: int) -> Tensor:
    """Class weights float32 [N, n_classes] of labels int64 [N]."""
    return F.one_hot(labels, n_classes).float()


def served_inputs(recipe: Recipe, n_classes: int, batch: int) -> Inputs:
    """A batch of 128 latents, and classes drawn uniformly where there are classes."""
    counter = _FIXED + 1 + batch
    z = noise(recipe.seed, counter, _STATISTICS_BATCH, recipe.network.z_dim)
    if not n_classes:
        return (z,)
    return z, one_hot(classes(recipe.seed, counter, len(z), n_classes), n_classes)
