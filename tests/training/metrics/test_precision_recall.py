"""Precision and recall on sets that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.metrics import precision_recall as module
from training.metrics.precision_recall import Support, precision_recall

Array = NDArray[np.float64]


def line(*places: float) -> Array:
    return np.array(places)[:, None]


def naive(balls: Array, points: Array, k: int) -> float:
    inside = 0
    radii = [sorted(np.linalg.norm(balls - c, axis=1))[k] for c in balls]
    for point in points:
        reach = (np.linalg.norm(point - c) <= r for c, r in zip(balls, radii, strict=True))
        inside += any(reach)
    return inside / len(points)


def test_radii_reach_to_the_kth_neighbour() -> None:
    places = line(0, 1, 3, 7, 20)
    assert Support.fit(places, k=1).radii.tolist() == pytest.approx([1, 1, 2, 4, 13])
    assert Support.fit(places, k=3).radii.tolist() == pytest.approx([7, 6, 4, 7, 19])
    assert Support.fit(places).radii.tolist() == Support.fit(places, k=3).radii.tolist()


def test_clusters_by_hand() -> None:
    # Real: two clusters, and every ball reaches 3 at most. The generator makes the left one and,
    # with one image in five, something that is nowhere near.
    real = line(0, 1, 2, 3, 100, 101, 102, 103)
    generated = line(0.5, 1.5, 2.5, 3.5, 50)
    # The ball of 50 reaches to 1.5, and over as much to the right: 98.5.
    supports = Support.fit(real), Support.fit(generated)
    assert supports[1].radii.tolist() == pytest.approx([3, 2, 2, 3, 48.5])
    precision, recall = precision_recall(*supports)
    assert precision == 4 / 5
    assert recall == 4 / 8


def test_distance_of_an_edge_is_inside() -> None:
    balls = Support.fit(line(0, 2), k=1)
    assert balls.share_of(Support.fit(line(4, 4.001, 5), k=1)) == pytest.approx(1 / 3)


def test_the_same_set_and_sets_far_apart() -> None:
    points = np.random.default_rng(0).standard_normal((30, 5))
    same, far = Support.fit(points), Support.fit(points + 1e3)
    assert precision_recall(same, Support.fit(points.copy())) == (1.0, 1.0)
    assert precision_recall(same, far) == (0.0, 0.0)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    rng = np.random.default_rng(1)
    real, generated = rng.standard_normal((40, 3)), rng.standard_normal((33, 3)) * 0.6 + 0.5
    precision, recall = precision_recall(Support.fit(real), Support.fit(generated))
    assert precision == naive(real, generated, 3)
    assert recall == naive(generated, real, 3)
    assert recall < precision


def test_more_samples_than_neighbours() -> None:
    Support.fit(line(0, 1, 2, 3))
    with pytest.raises(ValueError, match=r"^3 samples: must be more than k = 3$"):
        Support.fit(line(0, 1, 2))
