"""Fréchet distance between two sets of features, each taken for a normal distribution.

Heusel et al. 2017, equation 6, after Dowson and Landau 1982:

    d² = |m₁ - m₂|² + tr C₁ + tr C₂ - 2 tr (C₁ C₂)^½

with the mean m and covariance C of each set. Known as FID where the features are Inception's; those
of another classifier give other numbers, which compare only with each other. It falls as samples
are added, so that figures compare only at the same numbers of samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution.

    Attributes:
        mean: float64 [D].
        root: float64 [R, D] with root.T @ root the covariance; R is at most D.
    """

    mean: NDArray[np.float64]
    root: NDArray[np.float64]

    @classmethod
    def fit(cls, features: ArrayLike) -> Gaussian:
        """Mean and unbiased covariance of features [N, D], N at least 2."""
        values = np.asarray(features, np.float64)
        if values.ndim != 2 or len(values) < 2:
            raise ValueError(f"features of shape {values.shape}: must be [N, D] with N at least 2")
        mean = values.mean(axis=0)
        # A QR factor of the data keeps the digits that forming the covariance would lose.
        root = linalg.qr(values - mean, mode="r")[0][: values.shape[1]]
        return cls(mean, np.asarray(root / np.sqrt(len(values) - 1)))

    @property
    def total_variance(self) -> float:
        """Trace of the covariance."""
        return float(np.square(self.root).sum())


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """d² above, at least 0.

    The eigenvalues of C₁ C₂ are the squared singular values of R₁ R₂ᵀ, where C = Rᵀ R: the trace of
    the root is their sum. No root of a matrix is taken, and covariances may be singular.
    """
    shift = float(np.square(one.mean - other.mean).sum())
    overlap = float(linalg.svdvals(one.root @ other.root.T).sum())
    return max(0.0, shift + one.total_variance + other.total_variance - 2.0 * overlap)
