"""Latents depend on the seed and the truncation, and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from zoo.latents import MAX_SEED, Truncation, TruncationMode, latents, prior_class, uniforms

THRESHOLD, SCALE = TruncationMode.THRESHOLD, TruncationMode.SCALE
DIM = 16

seeds = st.integers(0, MAX_SEED)
thresholds = st.floats(0, 1e6, width=32)  # as a request holds them
examples = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def one(seed: int, truncation: Truncation | None = None, dim: int = DIM) -> NDArray[np.float32]:
    (row,) = latents([seed], [truncation], dim)
    return np.asarray(row, np.float32)


def many(n: int, truncation: Truncation | None = None) -> NDArray[np.float32]:
    return latents(range(n), [truncation] * n, DIM)


@pytest.fixture
def extreme_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The random words are the least and the greatest that there are, by turns."""

    class Extremes:
        def __init__(self, seed: int, purpose: int) -> None: ...

        def random_raw(self, n: int) -> NDArray[np.uint64]:
            return np.resize(np.array([0, 2**64 - 1], np.uint64), n)

    monkeypatch.setattr("zoo.latents._philox", Extremes)


# Changing one of the numbers below changes everybody's images.


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (0, [0.011546754286331562, 0.24154919656271823, 0.11142585551493822]),
        (1, [0.3035680343067587, 0.8487087496857769, 0.1561347780434731]),
        (MAX_SEED, [0.23494158814525556, 0.7173107484541782, 0.41117733204481477]),
    ],
)
def test_the_uniforms_of_a_seed_never_change(seed: int, expected: list[float]) -> None:
    assert uniforms(seed, 3).tolist() == expected


@pytest.mark.parametrize(
    ("seed", "truncation", "expected"),
    [
        (0, None, [-2.2718842, -0.7013279, -1.2189802, 0.1621716]),
        (0, Truncation(0.5), [-0.4874801, -0.2506749, -0.3820685, 0.0618678]),
        (0, Truncation(0.5, SCALE), [-0.9140218, -0.3320569, -0.5653135, 0.0773661]),
        (MAX_SEED, None, [-0.7226691, 0.5748711, -0.2245175, 0.571423]),
        (MAX_SEED, Truncation(0.5), [-0.257225, 0.2101218, -0.08536, 0.2089766]),
        (MAX_SEED, Truncation(0.5, SCALE), [-0.3419774, 0.272936, -0.1070702, 0.2713168]),
    ],
)
def test_the_latents_of_a_seed_never_change(
    seed: int, truncation: Truncation | None, expected: list[float]
) -> None:
    z = one(seed, truncation)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z[:4], expected, rtol=0, atol=1e-7)


def test_the_class_of_a_seed_never_changes() -> None:
    drawn = [prior_class(seed, 26) for seed in range(12)]
    assert drawn == [21, 1, 14, 19, 24, 18, 12, 22, 16, 2, 18, 12]
    assert prior_class(MAX_SEED, 1000) == 654


# What holds for every seed and threshold.


@examples
@given(seeds, st.integers(1, 64), st.integers(0, 64))
def test_more_uniforms_begin_with_the_same_ones(seed: int, n: int, more: int) -> None:
    assert (uniforms(seed, n + more)[:n] == uniforms(seed, n)).all()


@pytest.mark.usefixtures("extreme_words")
def test_uniforms_are_strictly_between_zero_and_one() -> None:
    least, greatest = uniforms(0, 2)
    assert 0 < least < 1e-15
    assert 1 - 1e-15 < greatest < 1


@pytest.mark.usefixtures("extreme_words")
@pytest.mark.parametrize("threshold", [0.0, 1e-9, 0.5, 2.0, 8.0, 8.3, 40.0, 1e30])
def test_the_rarest_latents_are_finite_and_bounded(threshold: float) -> None:
    low, high = one(0, Truncation(threshold), 2)
    largest = min(threshold, 8.3)  # beyond, 52 bits are not fine enough to tell
    assert -np.float32(largest) <= low <= 0 <= high <= np.float32(largest)
    np.testing.assert_allclose([-low, high], largest, rtol=0.03)


@examples
@given(seeds, thresholds)
@example(seed=0, threshold=float(np.float32(1e-15)))
def test_latents_stay_within_the_threshold(seed: int, threshold: float) -> None:
    assert np.abs(one(seed, Truncation(threshold))).max() <= np.float32(threshold)


@examples
@given(seeds, st.floats(0, 1, width=32))
def test_scaled_latents_stay_within_twice_the_factor(seed: int, factor: float) -> None:
    assert np.abs(one(seed, Truncation(factor, SCALE))).max() <= 2 * np.float32(factor)


@examples
@given(seeds, st.floats(9, 1e30))
def test_a_huge_threshold_truncates_nothing(seed: int, threshold: float) -> None:
    assert (one(seed, Truncation(threshold)) == one(seed)).all()


@pytest.mark.parametrize("mode", list(TruncationMode))
def test_threshold_zero_gives_zeros(mode: TruncationMode) -> None:
    assert not many(50, Truncation(0.0, mode)).any()


@examples
@given(seeds, st.floats(0, 8), st.floats(0, 8))
def test_a_latent_moves_no_faster_than_the_threshold(seed: int, a: float, b: float) -> None:
    z_a, z_b = one(seed, Truncation(a)), one(seed, Truncation(b))
    assert np.abs(z_a - z_b).max() <= abs(a - b) + 1e-6


@examples
@given(seeds, st.floats(0.001, 8), st.floats(0.001, 8))
def test_a_latent_keeps_its_sign_and_grows_with_the_threshold(
    seed: int, a: float, b: float
) -> None:
    z_low, z_high = one(seed, Truncation(min(a, b))), one(seed, Truncation(max(a, b)))
    assert (np.sign(z_low) == np.sign(z_high)).all()
    assert (np.abs(z_low) <= np.abs(z_high) + 1e-6).all()


@examples
@given(seeds, st.floats(0, 1, width=32))
def test_scale_is_the_factor_times_a_normal_truncated_at_two(seed: int, factor: float) -> None:
    truncated = one(seed, Truncation(2.0))
    scaled = one(seed, Truncation(factor, SCALE))
    np.testing.assert_allclose(scaled, factor * truncated.astype(np.float64), rtol=1e-6, atol=1e-40)


truncations = st.none() | st.builds(Truncation, thresholds, st.sampled_from(TruncationMode))


@examples
@given(st.lists(st.tuples(seeds, truncations), min_size=1, max_size=12), st.integers(1, 40))
def test_a_latent_does_not_depend_on_its_batch(
    images: list[tuple[int, Truncation | None]], dim: int
) -> None:
    batch = latents([seed for seed, _ in images], [t for _, t in images], dim)
    assert batch.shape == (len(images), dim)
    for row, (seed, truncation) in zip(batch, images, strict=True):
        assert row.tobytes() == one(seed, truncation, dim).tobytes()


# Distributions; the seeds are fixed, so these pass or fail for good.


@pytest.mark.parametrize(
    ("truncation", "bound", "factor"),
    [
        (None, np.inf, 1.0),
        (Truncation(0.3), 0.3, 1.0),
        (Truncation(1.0), 1.0, 1.0),
        (Truncation(2.0), 2.0, 1.0),
        (Truncation(0.4, SCALE), 2.0, 0.4),
    ],
)
def test_latents_are_truncated_normal(
    truncation: Truncation | None, bound: float, factor: float
) -> None:
    z = many(2000, truncation).astype(np.float64)
    expected = stats.truncnorm(-bound, bound, scale=factor)
    assert stats.kstest(z.ravel(), expected.cdf).pvalue > 0.01
    assert stats.kstest(z[:, 0], expected.cdf).pvalue > 0.01  # over seeds that follow each other
    deviation = float(expected.std())
    assert abs(z.mean()) < 4 * deviation / np.sqrt(z.size)
    assert z.var() == pytest.approx(deviation**2, rel=4 * np.sqrt(2 / z.size))


def test_neighbouring_seeds_and_coordinates_are_unrelated() -> None:
    z = many(2001)
    for a, b in ((z[1:], z[:-1]), (z[:, 1:], z[:, :-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / np.sqrt(a.size)


def test_the_prior_is_uniform_over_the_classes() -> None:
    drawn = np.array([prior_class(seed, 26) for seed in range(26 * 200)])
    counts = np.bincount(drawn, minlength=26)
    assert counts.shape == (26,)
    assert stats.chisquare(counts).pvalue > 0.01


def test_the_class_says_nothing_about_the_latents() -> None:
    n = 4000
    drawn = [prior_class(seed, 26) for seed in range(n)]
    for column in latents(range(n), [None] * n, 2).T:
        assert abs(np.corrcoef(drawn, column)[0, 1]) < 4 / np.sqrt(n)


@examples
@given(seeds, st.integers(1, 2**31))
def test_the_class_is_one_of_the_classes(seed: int, n_classes: int) -> None:
    assert 0 <= prior_class(seed, n_classes) < n_classes


def test_the_greatest_uniform_is_the_last_class(monkeypatch: pytest.MonkeyPatch) -> None:
    class Greatest:
        def __init__(self, seed: int, purpose: int) -> None: ...

        def random_raw(self, n: int) -> NDArray[np.uint64]:
            return np.full(n, 2**64 - 1, np.uint64)

    monkeypatch.setattr("zoo.latents._philox", Greatest)
    for n_classes in (1, 2, 3, 7, 26, 1000, 21_841, 2**31):
        assert prior_class(0, n_classes) == n_classes - 1
