"""Kernel distance against the sums of its definition."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from training.metrics.kernel import kernel_distance, squared_mmd

Array = NDArray[np.float64]


def naive(a: Array, b: Array) -> float:
    def kernel(x: Array, y: Array) -> float:
        return float(sum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1.0) ** 3

    return float(
        np.mean([kernel(x, y) for x, y in permutations(a, 2)])
        + np.mean([kernel(x, y) for x, y in permutations(b, 2)])
        - 2 * np.mean([kernel(x, y) for x, y in product(a, b)])
    )


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Array:
    return np.random.default_rng(seed).standard_normal((n, d)) + shift


def test_squared_mmd_by_hand() -> None:
    # k(0, y) = 1; k(2, 3) = 7³; the cross terms are 1, 1, 1 and (2·1 + 1)³.
    a, b = np.array([[2.0], [3.0]]), np.array([[0.0], [0.0]])
    assert squared_mmd(a, b) == pytest.approx(343 + 1 - 2)


@pytest.mark.parametrize(("n", "m", "d"), [(2, 2, 1), (7, 5, 3), (6, 11, 4)])
def test_squared_mmd_is_the_sum_of_its_definition(n: int, m: int, d: int) -> None:
    a, b = normal(n, d, 1), normal(m, d, 2, 0.5)
    assert squared_mmd(a, b) == pytest.approx(naive(a, b))


def test_whole_sets_of_one_size_are_compared_once() -> None:
    a, b = normal(9, 3, 1), normal(9, 3, 2)
    assert kernel_distance(a, b) == pytest.approx(naive(a, b))
    assert kernel_distance(a, b, seed=5) == kernel_distance(a, b)


def test_subsets() -> None:
    a, b = normal(40, 3, 1), normal(30, 3, 2, 2.0)
    estimate = kernel_distance(a, b, subsets=50, subset_size=20)
    assert estimate == kernel_distance(a, b, subsets=50, subset_size=20)
    assert estimate != kernel_distance(a, b, subsets=50, subset_size=20, seed=1)
    assert estimate == pytest.approx(naive(a, b), rel=0.15)


def test_no_bias_where_the_distributions_are_one() -> None:
    estimates = [
        kernel_distance(normal(8, 4, seed), normal(8, 4, seed + 10_000)) for seed in range(1500)
    ]
    error = float(np.std(estimates)) / len(estimates) ** 0.5
    assert abs(np.mean(estimates)) < 4 * error
    assert min(estimates) < 0  # an unbiased estimate of 0 must be


def test_grows_with_the_difference() -> None:
    real = normal(50, 4, 1)
    distances = [kernel_distance(real, normal(50, 4, 2, shift)) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert distances == sorted(distances)


def test_too_few_samples() -> None:
    with pytest.raises(ValueError, match=r"^sets of 1 and 5 samples: each must have 2 or more$"):
        kernel_distance(np.zeros((1, 2)), np.zeros((5, 2)))
