"""Random draws that have no state: functions of the run's seed and of a counter.

So a run that resumes at iteration `i` sees the very batches and latents that an uninterrupted one
would have seen.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from training.errors import DatasetError

# Domains of the Philox key, so that no two kinds of random numbers share a stream.
_ORDER: Final = 1
_NOISE: Final = 2
_CLASS: Final = 3
_G_NOISE: Final = 4
_WITHIN_CLASS: Final = 5
_CYCLE: Final = 6
_ROWS: Final = 7
_FLIP: Final = 8
_STEP: Final = 9


class BatchOrder:
    """Which images make up batch `batch`: a fresh permutation each epoch, the last bit dropped.

    Raises:
        DatasetError: fewer images than one batch.
    """

    def __init__(self, n_images: int, batch_size: int, seed: int) -> None:
        _refuse_few(n_images, batch_size)
        self.batches_per_epoch = n_images // batch_size
        self._n_images = n_images
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._permutation = torch.empty(0, dtype=torch.int64)

    def indices(self, batch: int) -> Tensor:
        """Image indices of a batch, int64 [batch_size]."""
        epoch, within = divmod(batch, self.batches_per_epoch)
        if epoch != self._epoch:
            order = _philox(self._seed, _ORDER, epoch).permutation(self._n_images)
            self._epoch, self._permutation = epoch, torch.from_numpy(order)
        return self._permutation[within * self._batch_size : (within + 1) * self._batch_size]


class BalancedOrder:
    """Batches in which every class comes equally often, up to one image.

    What is over when the batch is divided among the K classes goes round: to the first classes of
    a random order in the first batch, to the next ones in the second. A class shows all its images
    before it shows one again. Classes without images are left out.

    Args:
        labels: int64 [N].
        batch_size: images in a batch.
        seed: of the run.

    Raises:
        DatasetError: fewer images than one batch.
    """

    def __init__(self, labels: Tensor, batch_size: int, seed: int) -> None:
        _refuse_few(len(labels), batch_size)
        self.batches_per_epoch = len(labels) // batch_size
        self._batch_size = batch_size
        self._seed = seed
        values = labels.numpy()
        ordered = np.argsort(values, kind="stable")
        _, firsts = np.unique(values[ordered], return_index=True)
        self._members = np.split(ordered, firsts[1:])
        self._places = _philox(seed, _CYCLE, 0).permutation(len(self._members))
        self._shuffled = [(-1, members) for members in self._members]

    def indices(self, batch: int) -> Tensor:
        """Image indices of a batch, int64 [batch_size]."""
        each, over = divmod(self._batch_size, len(self._members))
        before, after = self._shown(batch, each, over), self._shown(batch + 1, each, over)
        chosen = [
            self._image(which, turn)
            for which in range(len(self._members))
            for turn in range(before[which], after[which])
        ]
        rows = _philox(self._seed, _ROWS, batch).permutation(self._batch_size)
        return torch.from_numpy(np.array(chosen, np.int64)[rows])

    def _shown(self, batch: int, each: int, over: int) -> list[int]:
        """How many images each class has shown before `batch`."""
        n = len(self._members)
        # The class at place p of the cycle gets the leftovers number p, p + n, p + 2n, …
        return [each * batch + (over * batch - int(p) + n - 1) // n for p in self._places]

    def _image(self, which: int, turn: int) -> int:
        members = self._members[which]
        epoch, within = divmod(turn, len(members))
        if self._shuffled[which][0] != epoch:
            stream = _philox(self._seed, _WITHIN_CLASS, epoch, which)
            self._shuffled[which] = epoch, stream.permutation(members)
        return int(self._shuffled[which][1][within])


def noise(seed: int, itr: int, n: int, z_dim: int) -> Tensor:
    """Latents of iteration `itr`: N(0, 1), float32 [n, z_dim], a function of (seed, itr)."""
    return _normal(seed, _NOISE, itr, n, z_dim)


def g_noise(seed: int, itr: int, n: int, z_dim: int) -> Tensor:
    """Latents like those of `noise` and independent of them, for updates of G on its own."""
    return _normal(seed, _G_NOISE, itr, n, z_dim)


def classes(seed: int, counter: int, n: int, n_classes: int) -> Tensor:
    """Classes of fakes, drawn uniformly: int64 [n], a function of (seed, counter)."""
    return torch.from_numpy(_philox(seed, _CLASS, counter).integers(n_classes, size=n))


def flips(seed: int, batch: int, n: int) -> Tensor:
    """Which images of a batch are mirrored, each with probability 1/2: bool [n]."""
    return torch.from_numpy(_philox(seed, _FLIP, batch).integers(2, size=n).astype(np.bool_))


def step_seed(seed: int, itr: int, rank: int) -> int:
    """Seed of torch's generator for what process `rank` draws within iteration `itr`."""
    return int(_philox(seed, _STEP, itr, rank).integers(2**63))


def _refuse_few(n_images: int, batch_size: int) -> None:
    if n_images < batch_size:
        raise DatasetError(f"{n_images} images are fewer than one batch of {batch_size}")


def _normal(seed: int, domain: int, counter: int, n: int, z_dim: int) -> Tensor:
    z = _philox(seed, domain, counter).standard_normal((n, z_dim), dtype=np.float32)
    return torch.from_numpy(z)


def _philox(seed: int, domain: int, counter: int, part: int = 0) -> np.random.Generator:
    # 256-bit counter: its highest words name the stream, its lowest count within it.
    return np.random.Generator(
        np.random.Philox(
            key=np.uint64(seed), counter=np.array([0, part, counter, domain], np.uint64)
        )
    )
