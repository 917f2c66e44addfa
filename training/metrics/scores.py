"""Figures that need no real images beside them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from scipy.special import xlogy


def class_score(probabilities: NDArray[np.float64]) -> float:
    """Score of classes, exp E KL(p(y|x) ‖ p(y)): 1 to n_classes (Salimans et al. 2016, sec. 4).

    With Inception's probabilities it is the Inception score; with another classifier's it compares
    only with itself. It is computed over all samples at once, not averaged over ten parts.

    Args:
        probabilities: float64 [N, n_classes], rows sum to one.
    """
    marginal = probabilities.mean(axis=0)
    of_samples = xlogy(probabilities, probabilities).sum(axis=1).mean()
    return float(np.exp(of_samples - xlogy(marginal, marginal).sum()))


def class_accuracy(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], n_classes: int
) -> tuple[float, tuple[float | None, ...]]:
    """Share of samples whose predicted class is the one meant: over all, and of each class.

    A class without samples has None.
    """
    right = predicted == labels
    counts = np.bincount(labels, minlength=n_classes)
    hits = np.bincount(labels, weights=right, minlength=n_classes)
    shares = (h / n if n else None for h, n in zip(hits.tolist(), counts.tolist(), strict=True))
    return float(right.mean()), tuple(shares)


def intra_class_distance(features: NDArray[np.float32], classes: NDArray[np.int64]) -> float | None:
    """Mean Euclidean distance between two samples of a class, averaged over classes.

    It falls towards 0 where a generator repeats itself within its classes, as it does at strong
    truncation or in collapse. Classes with fewer than two samples are passed over; None if all are.

    Args:
        features: float32 [N, D].
        classes: int64 [N].
    """
    groups = (features[classes == index].astype(np.float64) for index in np.unique(classes))
    means = [pdist(group).mean() for group in groups if len(group) > 1]
    return float(np.mean(means)) if means else None
