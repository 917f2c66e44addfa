"""What an iteration consumes, drawn as functions of (seed, itr): nothing here has a state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from training.config import Recipe
from training.data import Images, ImageSet, to_range
from training.draws import BalancedOrder, BatchOrder, classes, flips, g_noise, noise
from training.errors import RecipeError
from training.prefetch import Prefetched
from training.steps import Draw, Inputs

_FIXED = 2**62  # iterations of the noise for sample grids begin here
_STATISTICS_BATCH = 128


class BatchSource:
    """Real batches and latents of every iteration, on the device where they are used.

    Several processes that train together draw the same batches, and each takes its rows of every
    one of them. Images that are decoded as needed are drawn one iteration ahead, in a thread.

    Args:
        recipe: batch size, seed, and how images are chosen and mirrored.
        data: the training images.
        pixel_range: what 0 and 255 become.
        device: where the draws are put.
        rank: which of the processes this is.
        world_size: how many there are.

    Raises:
        DatasetError: fewer images than one batch.
        RecipeError: a batch that cannot be divided, or balanced classes without classes.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Images,
        pixel_range: tuple[float, float],
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._recipe = recipe
        self._data = data
        self._range = pixel_range
        self._device = device
        self._order = order_of(recipe, data, world_size)
        share = recipe.batch_size // world_size
        self._rows = slice(rank * share, (rank + 1) * share)
        self._alternates = recipe.alternates
        self._whole = self._draw if isinstance(data, ImageSet) else Prefetched(self._draw)
        self.images_per_itr = recipe.d_steps * recipe.batch_size
        self.images_per_epoch = self._order.batches_per_epoch * recipe.batch_size

    def draw(self, itr: int) -> Draw:
        """Everything that iteration `itr`, counted from 0, consumes.

        Raises:
            DatasetError: an image that cannot be read.
        """
        whole = self._whole(itr)
        return Draw(
            itr, self._parts(whole.real), self._parts(whole.d_fake), self._parts(whole.g_fake)
        )

    def samples(self, columns: int, rows: int) -> Inputs:
        """Latents and classes of a sample grid: a row a class where there are classes."""
        z = noise(self._recipe.seed, _FIXED, columns * rows, self._recipe.network.z_dim)
        n_classes = self.n_classes
        if not n_classes:
            return (z.to(self._device),)
        shown = torch.linspace(0, n_classes - 1, rows).round().long().repeat_interleave(columns)
        return z.to(self._device), one_hot(shown, n_classes).to(self._device)

    def statistics(self, batches: int) -> list[Inputs]:
        """Latents and evenly drawn classes, for `standing_statistics`."""
        seed, z_dim, drawn = self._recipe.seed, self._recipe.network.z_dim, []
        for counter in range(_FIXED + 1, _FIXED + 1 + batches):
            inputs: Inputs = (noise(seed, counter, _STATISTICS_BATCH, z_dim),)
            if self.n_classes:
                labels = classes(seed, counter, _STATISTICS_BATCH, self.n_classes)
                inputs += (one_hot(labels, self.n_classes),)
            drawn.append(tuple(tensor.to(self._device) for tensor in inputs))
        return drawn

    @property
    def n_classes(self) -> int:
        """0 for an unconditional model."""
        return len(self._data.class_names) if self._alternates else 0

    def _draw(self, itr: int) -> Draw:
        """A process's share of an iteration, on the CPU and not yet in parts."""
        updates = range(itr * self._recipe.d_steps, (itr + 1) * self._recipe.d_steps)
        real = [self._real(i) for i in updates]
        d_fake = [self._with_classes(noise(*self._noise_arguments(i)), 2 * i) for i in updates]
        g_fake = []
        if self._alternates:
            g_fake = [self._with_classes(g_noise(*self._noise_arguments(itr)), 2 * itr + 1)]
        return Draw(itr, real, d_fake, g_fake)

    def _real(self, batch: int) -> Inputs:
        chosen = self._order.indices(batch)[self._rows]
        pixels = self._data.batch(chosen)
        if self._recipe.flips:
            mirrored = flips(self._recipe.seed, batch, self._recipe.batch_size)[self._rows]
            pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
        images = to_range(pixels, self._range)
        if not self.n_classes:
            return (images,)
        return images, one_hot(self._data.labels[chosen], self.n_classes)

    def _with_classes(self, z: Tensor, counter: int) -> Inputs:
        if not self.n_classes:
            return (z[self._rows],)
        drawn = classes(self._recipe.seed, counter, len(z), self.n_classes)
        return z[self._rows], one_hot(drawn[self._rows], self.n_classes)

    def _noise_arguments(self, batch: int) -> tuple[int, int, int, int]:
        recipe = self._recipe
        return recipe.seed, batch, recipe.batch_size, recipe.network.z_dim

    def _parts(self, batches: Sequence[Inputs]) -> list[Inputs]:
        parts: list[Inputs] = []
        for inputs in batches:
            split: Sequence[tuple[Tensor, ...]] = [
                tensor.to(self._device).chunk(self._recipe.accumulations) for tensor in inputs
            ]
            parts += zip(*split, strict=True)
        return parts


def order_of(recipe: Recipe, data: Images, world_size: int = 1) -> BatchOrder | BalancedOrder:
    """Which images make up which batch; also checks that the recipe's batches can be had.

    Raises:
        DatasetError: fewer images than one batch.
        RecipeError: a batch that cannot be divided, or balanced classes without classes.
    """
    divisor = world_size * recipe.accumulations
    if recipe.batch_size % divisor or recipe.batch_size < 2 * divisor:
        processes = "1 process" if world_size == 1 else f"{world_size} processes"
        raise RecipeError(
            f"batch_size {recipe.batch_size} cannot be divided among {processes} with "
            f"accumulations {recipe.accumulations}: it must be a multiple of {divisor}, and at "
            f"least {2 * divisor}, so that a part has 2 images"
        )
    if not recipe.class_balanced:
        return BatchOrder(len(data), recipe.batch_size, recipe.seed)
    if not data.class_names:
        raise RecipeError("class_balanced: the images have no classes; set class_balanced=false")
    return BalancedOrder(data.labels, recipe.batch_size, recipe.seed)


def one_hot(labels: Tensor, n_classes: int) -> Tensor:
    """Class weights float32 [N, n_classes] of labels int64 [N]."""
    return F.one_hot(labels, n_classes).float()
