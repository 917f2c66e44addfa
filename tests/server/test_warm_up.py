"""The warm-up runs every lane, and says how long an image takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from server.warm_up import warm_up
from tests.server.lanes import Lanes
from tests.toys import write_toy
from zoo.card import Card
from zoo.generator import Generator, Mixture
from zoo.latents import Truncation
from zoo.runtime import CPU, CUDA


class Slow(Generator):
    """Takes a given time for each image, by a clock that only it moves."""

    def __init__(self, card: Card, image_s: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
        self.card = card
        self.execution = Lanes(len(image_s) + 2, kinds=len(image_s))
        self.runs: list[tuple[int, int]] = []
        self._image_s = image_s
        self._now_s = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self._now_s)

    def generate(
        self,
        seeds: Sequence[int],
        truncations: Sequence[Truncation | None],
        mixtures: Sequence[Mixture] | None = None,
        lane: int = 0,
    ) -> NDArray[np.uint8]:
        assert len(truncations) == len(seeds)
        assert mixtures == ([((0, 1.0),)] * len(seeds) if self.card.classes else None)
        first = (len(seeds), lane) not in self.runs
        self.runs.append((len(seeds), lane))
        self._now_s += len(seeds) * self._image_s[lane] * (3 if first else 1)
        return np.zeros((len(seeds), 2, 2, 1), np.uint8)


@pytest.mark.parametrize(
    ("image_s", "most", "largest"),
    [
        ([0.001], 256, 4),
        ([0.00041], 256, 8),
        ([0.00041], 8, 8),
        ([0.00041], 7, 7),
        ([0.00041], 4, 4),
        ([0.0000001], 100, 100),
        ([0.5], 256, 1),
        ([0.001], 1, 1),
        ([0.0005, 0.00095], 256, 4),  # the slowest lane decides
        ([0.00095, 0.0005], 256, 4),
    ],
)
@pytest.mark.parametrize("classes", [(), ("A", "B")])
def test_batches_grow_until_they_take_a_quarter_of_what_they_may(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    image_s: list[float],
    most: int,
    largest: int,
    classes: tuple[str, ...],
) -> None:
    slow = Slow(write_toy(tmp_path, "toy", classes=classes), image_s, monkeypatch)
    assert warm_up(slow, most, 0.01) == pytest.approx(max(image_s))
    assert max(slow.runs) == (largest, len(image_s) - 1)
    assert {lane for _, lane in slow.runs} == set(range(len(image_s)))


@pytest.mark.parametrize(
    ("provider", "most", "largest"),
    [(CPU, 256, 16), (CPU, 16, 16), (CPU, 15, 15), (CUDA, 256, 256)],
)
def test_on_a_cpu_batches_grow_to_sixteen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str, most: int, largest: int
) -> None:
    slow = Slow(write_toy(tmp_path, "toy"), [1e-7], monkeypatch)
    slow.execution.provider = provider
    warm_up(slow, most, 0.01)
    assert max(slow.runs) == (largest, 0)
