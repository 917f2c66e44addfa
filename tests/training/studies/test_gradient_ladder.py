"""The ladder of gradients: hand-written ones are right, rungs agree, the start decides."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
import torch

from tests.training.conftest import Cli
from training.studies.gradient_rungs import (
    NORMAL,
    OWN,
    RUNGS,
    STARTS,
    Ladder,
    Sizes,
    apart,
    by_hand,
    expected,
)

SMALL = Ladder(Sizes(examples=9, inputs=30, hidden=12, outputs=4, steps=40, lr=1e-4), torch.float64)


def test_hand_written_gradients_are_those_of_differences() -> None:
    x, y = SMALL.data()
    w1, w2 = SMALL.weights(OWN)
    lr, small = 1e-3, 1e-6
    (loss, after), *_ = itertools.islice(by_hand(x, y, (w1, w2), lr), 1)

    def loss_of(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(((x @ a.T).clamp(min=0) @ b.T - y).square().sum())

    assert loss == pytest.approx(loss_of(w1, w2), rel=1e-12)
    for which, place in ((0, (3, 7)), (0, (11, 0)), (1, (2, 5)), (1, (0, 11))):
        moved = [w1.clone(), w2.clone()]
        moved[which][place] += small
        slope = (loss_of(*moved) - loss) / small
        taken = float((w1, w2)[which][place] - after[which][place]) / lr
        assert taken == pytest.approx(slope, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("start", STARTS)
def test_rungs_agree_to_rounding(start: str) -> None:
    climbs = [SMALL.climb(rung, start) for rung in RUNGS]
    for other in climbs[1:]:
        assert max(apart(climbs[0], other)) < 1e-12
    losses = [loss for loss, _ in climbs[0]]
    assert losses[-1] < losses[0]


def test_losses_at_the_start_are_those_expected() -> None:
    ladder = Ladder(Sizes(steps=1), torch.float64)
    theory = expected(ladder.sizes)
    assert ladder.climb("by hand", NORMAL)[0][0] == pytest.approx(theory[NORMAL], rel=0.2)
    assert ladder.third_as_it_comes()[0][0] == pytest.approx(theory[OWN], rel=0.1)


def test_weights_do_not_repeat_the_data() -> None:
    x, _ = SMALL.data()
    w1, _ = SMALL.weights(NORMAL)
    assert not set(x.flatten().tolist()) & set(w1.flatten().tolist())


def test_quick_run(cli: Cli, tmp_path: Path) -> None:
    done = cli("study", "gradient-ladder", "--quick", "--out", "out", "--set", "steps=20")
    assert done.code == 0, done.err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [claim["agrees"] for claim in results["claims"]] == [True, True, True]
    losses = results["numbers"]["losses"]
    assert all(len(series) == 20 for start in losses.values() for series in start.values())
    assert all(math.isfinite(loss) for loss in losses[NORMAL]["by hand"])
    for figure in results["figures"]:
        assert (tmp_path / "out" / f"{figure['name']}.png").stat().st_size > 5_000
