"""Images with their classes as a network wants them, in memory, and how well it names them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.data import Images, to_range

_BATCH = 500  # in evaluation


@dataclass(frozen=True)
class Labelled:
    """A part of a data set on its device.

    Attributes:
        images: float32 [N, C, H, W] in [-1, 1].
        labels: int64 [N].
        n_classes: of the data set.
    """

    images: Tensor
    labels: Tensor
    n_classes: int

    def __len__(self) -> int:
        return len(self.images)

    def first(self, most: int | None) -> Labelled:
        """The first so many; None: all."""
        return Labelled(self.images[:most], self.labels[:most], self.n_classes)

    def batches(self, size: int, seed: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and classes in batches of `size`; the last one is left out where it is smaller.

        Args:
            size: of a batch.
            seed: of a random order; None: as they come.
        """
        n = len(self)
        order = torch.arange(n)
        if seed is not None:
            order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
        for chosen in torch.split(order[: n - n % size], size):
            yield self.images[chosen], self.labels[chosen]

    @torch.no_grad()
    def accuracy(self, network: nn.Module, *, batch_statistics: bool = False) -> float:
        """Share that a copy of `network` names rightly in evaluation mode.

        Args:
            network: classifies.
            batch_statistics: in training mode instead, where batch norm normalises by the batch.
        """
        judge = copy.deepcopy(network).train(batch_statistics)
        right = torch.zeros((), dtype=torch.int64, device=self.labels.device)
        for images, labels in zip(
            torch.split(self.images, _BATCH), torch.split(self.labels, _BATCH), strict=True
        ):
            right += (judge(images).argmax(1) == labels).sum()
        return int(right.item()) / len(self)


def labelled(data: Images, most: int | None, seed: int, device: torch.device) -> Labelled:
    """A random part of a data set, or all of it.

    Args:
        data: where from.
        most: how many images; None, or more than there are: all.
        seed: of the choice.
        device: where to.
    """
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:most]
    images = to_range(data.batch(chosen), (-1.0, 1.0))
    return Labelled(
        images.to(device), data.labels[chosen].to(device), max(2, len(data.class_names))
    )
