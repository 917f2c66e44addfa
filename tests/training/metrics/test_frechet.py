"""Fréchet distance against closed forms and a matrix root taken elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import linalg

from training.metrics.frechet import Gaussian, frechet_distance

Array = NDArray[np.floating]


def standard(n: int, d: int, seed: int = 0) -> Array:
    """Samples whose mean is exactly 0 and whose covariance is exactly the identity."""
    raw = np.random.default_rng(seed).standard_normal((n, d))
    raw -= raw.mean(axis=0)
    whiten = np.linalg.cholesky(np.linalg.inv(np.cov(raw, rowvar=False).reshape(d, d)))
    return np.asarray(raw @ whiten)


def distance(one: Array, other: Array) -> float:
    return frechet_distance(Gaussian.fit(one), Gaussian.fit(other))


def test_fit_has_the_moments_of_the_samples() -> None:
    features = np.random.default_rng(1).standard_normal((50, 4)) @ np.diag([1.0, 2.0, 3.0, 0.0])
    fitted = Gaussian.fit(features)
    np.testing.assert_allclose(fitted.mean, features.mean(axis=0))
    np.testing.assert_allclose(
        fitted.root.T @ fitted.root, np.cov(features, rowvar=False), atol=1e-12
    )
    assert fitted.total_variance == pytest.approx(np.trace(np.cov(features, rowvar=False)))


def test_one_dimension() -> None:
    # |m₁ - m₂|² + (σ₁ - σ₂)²
    one, other = 2.0 * standard(40, 1), 5.0 + 0.5 * standard(70, 1, seed=2)
    assert distance(one, other) == pytest.approx(25.0 + 1.5**2)


def test_independent_dimensions() -> None:
    sigmas, others = np.array([1.0, 2.0, 0.5]), np.array([3.0, 2.0, 0.25])
    one = standard(60, 3) * sigmas
    other = standard(60, 3, seed=3) * others + np.array([1.0, -2.0, 0.0])
    assert distance(one, other) == pytest.approx(5.0 + ((sigmas - others) ** 2).sum())


def test_covariances_that_do_not_commute() -> None:
    rng = np.random.default_rng(4)
    one = standard(90, 5) @ rng.standard_normal((5, 5))
    other = standard(80, 5, seed=5) @ rng.standard_normal((5, 5)) + 0.3
    covariances = [np.cov(x, rowvar=False) for x in (one, other)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = 5 * 0.3**2 + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert distance(one, other) == pytest.approx(expected)
    assert distance(other, one) == pytest.approx(expected)


def test_singular_covariances() -> None:
    # A line in the plane against a line across it: the cross term vanishes.
    along, across = np.zeros((30, 2)), np.zeros((30, 2))
    along[:, 0], across[:, 1] = 2.0 * standard(30, 1)[:, 0], 3.0 * standard(30, 1)[:, 0]
    assert distance(along, across) == pytest.approx(4.0 + 9.0)
    assert distance(along, 2.0 * along) == pytest.approx(4.0)


def test_fewer_samples_than_dimensions() -> None:
    few = np.random.default_rng(6).standard_normal((5, 40))
    assert distance(few, few) == pytest.approx(0.0, abs=1e-9)
    assert distance(few, few + 1.0) == pytest.approx(40.0)
    assert Gaussian.fit(few).root.shape == (5, 40)


def test_the_same_set_is_at_distance_zero_whatever_its_offset() -> None:
    features = np.random.default_rng(7).standard_normal((100, 8)).astype(np.float32)
    assert 0.0 <= distance(features, features) < 1e-9
    assert 0.0 <= distance(features + 1e3, features + 1e3) < 1e-9


@pytest.mark.parametrize("shape", [(1, 3), (3,), (0, 3)])
def test_too_few_samples(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be \[N, D\] with N at least 2"):
        Gaussian.fit(np.zeros(shape))
    Gaussian.fit(np.zeros((2, 3)))
