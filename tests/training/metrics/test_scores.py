"""Scores against bounds, hand counts and plain loops."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from training.metrics.scores import class_accuracy, class_score, intra_class_distance


def test_score_of_equal_beliefs_is_one() -> None:
    assert class_score(np.full((9, 4), 0.25)) == pytest.approx(1.0)
    assert class_score(np.tile([1.0, 0.0, 0.0], (5, 1))) == pytest.approx(1.0)  # collapse


def test_score_of_certain_and_even_classes_is_their_number() -> None:
    assert class_score(np.eye(7)) == pytest.approx(7.0)
    assert class_score(np.eye(7)[:3]) == pytest.approx(3.0)


def test_score_by_hand() -> None:
    # p(y) = (1/2, 1/2); each sample's divergence is 3/4 ln 3/2 + 1/4 ln 1/2.
    score = class_score(np.array([[0.75, 0.25], [0.25, 0.75]]))
    assert score == pytest.approx(math.exp(0.75 * math.log(1.5) + 0.25 * math.log(0.5)))


def test_score_stays_within_its_bounds() -> None:
    rng = np.random.default_rng(0)
    for sharpness in (0.01, 1.0, 30.0):
        weights = np.exp(sharpness * rng.standard_normal((50, 6)))
        assert 1.0 < class_score(weights / weights.sum(axis=1, keepdims=True)) < 6.0


def test_accuracy_by_hand() -> None:
    predicted, labels = np.array([0, 1, 1, 2, 0]), np.array([0, 0, 1, 1, 0])
    overall, shares = class_accuracy(predicted, labels, 4)
    assert overall == pytest.approx(3 / 5)
    assert shares[:2] == pytest.approx((2 / 3, 1 / 2))
    assert shares[2:] == (None, None)


def test_intra_class_distance_by_loops() -> None:
    rng = np.random.default_rng(1)
    features = rng.standard_normal((20, 3)).astype(np.float32)
    classes = rng.integers(3, size=20)
    means = [
        np.mean([math.dist(a, b) for a, b in combinations(features[classes == c].tolist(), 2)])
        for c in range(3)
    ]
    assert intra_class_distance(features, classes) == pytest.approx(np.mean(means))


def test_intra_class_distance_of_repetition_is_zero_however_far_the_classes_are() -> None:
    features = np.repeat(np.array([[0.0, 0.0], [9.0, 9.0]], np.float32), 4, axis=0)
    assert intra_class_distance(features, np.repeat([0, 1], 4)) == 0.0


def test_lone_samples_have_no_distance() -> None:
    features = np.array([[0.0], [3.0], [7.0]], np.float32)
    assert intra_class_distance(features, np.array([0, 1, 2])) is None
    assert intra_class_distance(features, np.array([0, 1, 1])) == pytest.approx(4.0)
