"""Improved precision and recall (Kynkäänniemi et al. 2019, section 3).

The support of a set is the union of balls around its samples, each reaching to the sample's k-th
nearest neighbour in the set. Precision is the share of generated samples in the support of the real
ones, recall the share of real samples in the support of the generated ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

K = 3
"""Neighbours, as in the paper."""
_BLOCK = 1000  # rows of a matrix of distances that are held at a time


@dataclass(frozen=True)
class Support:
    """Balls around samples.

    Attributes:
        centres: float64 [N, D].
        radii: float64 [N].
    """

    centres: Tensor
    radii: Tensor

    @classmethod
    def fit(cls, features: ArrayLike, k: int = K) -> Support:
        """Balls that reach to the `k`-th neighbour of features [N, D], N more than k."""
        centres = torch.as_tensor(features, dtype=torch.float64)
        if not 0 < k < len(centres):
            raise ValueError(f"{len(centres)} samples: must be more than k = {k}")
        radii = []
        for start in range(0, len(centres), _BLOCK):
            distances = torch.cdist(centres[start : start + _BLOCK], centres)
            rows = torch.arange(len(distances))
            distances[rows, start + rows] = torch.inf  # a sample is not its own neighbour
            radii.append(distances.kthvalue(k, dim=1).values)
        return cls(centres, torch.cat(radii))

    def share_of(self, other: Support) -> float:
        """Share of the other's centres that lie in a ball of this one, edges included."""
        inside = 0
        for block in torch.split(other.centres, _BLOCK):
            inside += int((torch.cdist(block, self.centres) <= self.radii).any(dim=1).sum())
        return inside / len(other.centres)


def precision_recall(real: Support, generated: Support) -> tuple[float, float]:
    """Precision and recall, both 0 to 1."""
    return real.share_of(generated), generated.share_of(real)
