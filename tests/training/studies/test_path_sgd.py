"""The study of Path-SGD: starts, claims held against curves that are known, a run from the CLI."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.training.conftest import Cli
from training.studies.path_sgd import build
from training.studies.path_sgd_curves import Curve, Scores, judge


def test_unbalanced_start_is_the_same_function_of_other_weights() -> None:
    one, other = build(40, "balanced", 3).double(), build(40, "unbalanced", 3).double()
    images = torch.rand(7, 784, dtype=torch.float64)
    torch.testing.assert_close(other(images), one(images), rtol=1e-5, atol=1e-6)
    weights, others = (next(iter(network.parameters())) for network in (one, other))
    ratio = (others / weights).mean(1)
    changed = ratio[(ratio - 1).abs() > 1e-6]
    # 20 draws among 80 units, of which half are in this layer.
    assert 3 <= len(changed) <= 20
    assert 0.5 < changed.log10().mean() < 1.6  # 10c, c log-normal; once or more


def test_balanced_start() -> None:
    for weight in build(300, "balanced", 1).parameters():
        assert weight.std().item() == pytest.approx(weight.shape[1] ** -0.5, rel=0.05)


def curves(**ends: tuple[float, float]) -> list[Curve]:
    """Losses and test errors at the end, by optimiser, balanced and unbalanced alike."""
    return [
        Curve(
            name.replace("_", "-"), start, 0.1, [Scores(2.3, 0.9, 0.9), Scores(end[0], 0, end[1])]
        )
        for name, end in ends.items()
        for start in ("balanced", "unbalanced")
    ]


def test_claims_follow_the_numbers() -> None:
    good = curves(SGD=(0.5, 0.3), AdaGrad=(0.4, 0.3), Adam=(0.1, 0.1), Path_SGD=(0.2, 0.1))
    same, balanced, unbalanced, harmed, general = judge(good, 1000)
    assert (same.agrees, balanced.agrees, unbalanced.agrees) == (True, True, True)
    assert harmed.agrees is False  # both starts are alike
    assert general.agrees is True
    near = curves(SGD=(0.1, 0.101), AdaGrad=(0.4, 0.1), Adam=(0.1, 0.1), Path_SGD=(0.2, 0.1))
    assert [claim.agrees for claim in judge(near, 1000)] == [True, False, False, False, None]
    worse = curves(SGD=(0.1, 0.01), AdaGrad=(0.4, 0.1), Adam=(0.1, 0.1), Path_SGD=(0.2, 0.1))
    assert judge(worse, 1000)[-1].agrees is False


def test_curves_that_part_are_told() -> None:
    parted = curves(SGD=(0.5, 0.3), AdaGrad=(0.4, 0.3), Adam=(0.1, 0.1), Path_SGD=(0.2, 0.1))
    parted[-1].scores[-1] = Scores(0.24, 0, 0.1)
    claim = judge(parted, 1000)[0]
    assert claim.agrees is False
    assert "1.7e-02 of the loss at the start" in claim.found
    parted[-1] = Curve("Path-SGD", "unbalanced", 0.01, parted[-1].scores)
    assert "Rates differ: 0.1 and 0.01" in judge(parted, 1000)[0].found


def test_quick_run(cli: Cli, data_folder: Path, tmp_path: Path) -> None:
    done = cli(
        *("study", "path-sgd", "--quick", "--data", data_folder, "--out", "out"),
        *("--set", "images=1000", "--set", "epochs=2", "--set", "rates=[0.1, 0.03, 1.0e+6]"),
    )
    assert done.code == 0, done.err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(results["numbers"]["curves"]) == 8
    tried = results["numbers"]["tuning"]["SGD, balanced"]
    assert tried["1e+06"] is None or tried["1e+06"] > tried["0.1"]
    pair = [c for c in results["numbers"]["curves"] if c["optimizer"] == "Path-SGD"]
    for one, other in zip(pair[0]["scores"], pair[1]["scores"], strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-3)
    assert pair[0]["scores"][-1]["train_loss"] < 0.7 * pair[0]["scores"][0]["train_loss"]
    assert results["claims"][0]["agrees"] is True
    assert (tmp_path / "out" / "learning-curves.png").stat().st_size > 10_000
