"""The study of initialisers: its starts, its densities, and a run from the CLI."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import Cli
from training.data import ImageSet
from training.studies.initializer_figures import Outcome
from training.studies.initializer_folding import drawn, folded_density, truncated_density
from training.studies.initializer_grid import gains_claim
from training.studies.initializer_sequences import SequenceModel, train_sequences
from training.studies.initializer_starts import (
    OPTIMIZERS,
    Ending,
    grid_start,
    optimizer_of,
    starts_of,
)


def test_densities_are_densities() -> None:
    x = np.linspace(-2, 2, 40_001)[1:-1]
    for density in (truncated_density, folded_density):
        assert np.trapezoid(density(x), x) == pytest.approx(1.0, abs=1e-3)
    gap = folded_density(np.array([0.0, 1.0])) - truncated_density(np.array([0.0, 1.0]))
    assert gap[0] > 0.03
    assert gap[1] < 0


@pytest.mark.parametrize(
    ("name", "density"),
    [("truncated-normal", truncated_density), ("truncated-normal-fmod", folded_density)],
)
def test_histograms_follow_their_densities(name: str, density: object) -> None:
    assert callable(density)
    counts, bounds = np.histogram(drawn(name, 400_000, 1), 20, (-2, 2), density=True)
    middles = (bounds[1:] + bounds[:-1]) / 2
    np.testing.assert_allclose(counts, density(middles), atol=0.008)


def test_starts() -> None:
    starts = starts_of([1.0, 2.0])
    assert [start.gains for start in starts[:4]] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert not any(start.gains for start in starts[4:])
    assert len({start.name for start in starts}) == len(starts)
    folded = grid_start(1, 1, fold=True).config.linear
    assert folded is not None
    assert folded.name == "truncated-normal-fmod"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str) -> None:
    network = torch.nn.Linear(1, 1)
    optimizer = optimizer_of(name, network, 0.25, (0.5, 0.9))
    assert type(optimizer).__name__ == name
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert optimizer.param_groups[0].get("alpha", 0.9) == 0.9


def test_sequence_model_reads_both_ways() -> None:
    torch.manual_seed(0)
    network = SequenceModel(8).eval()
    rows = torch.rand(3, 28, 28)
    logits = network(rows)
    assert logits.shape == (3, 10)
    changed = rows.clone()
    changed[0, 0] = 1 - changed[0, 0]
    assert not torch.allclose(network(changed)[0], logits[0])
    assert torch.allclose(network(changed)[1:], logits[1:])


def striped(n: int) -> ImageSet:
    """Class k has its bright row at 2k."""
    labels = torch.arange(n) % 10
    images = torch.zeros(n, 1, 28, 28, dtype=torch.uint8)
    images[torch.arange(n), 0, 2 * labels] = 255
    return ImageSet(images, labels, tuple("0123456789"))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_sequence_model_learns_and_the_start_counts(optimizer: str) -> None:
    runs = [
        train_sequences(
            grid_start(1, g2),
            optimizer,
            (striped(400), striped(50)),
            width=16,
            epochs=6,
            batch_size=20,
            lr=3e-3,
            seed=1,
            device=torch.device("cpu"),
        )
        for g2 in (1.0, 1.0, 2.0)
    ]
    assert runs[0] == runs[1]
    assert runs[0].losses != runs[2].losses
    assert len(runs[0].losses) == 6
    assert runs[0].score < 0.5 * math.log(10)


def outcome(*scores: tuple[float, float]) -> Outcome:
    """Two seeds' scores of the grid's only start; torch's default has 2 and 3, the others 9."""
    endings = {}
    for optimizer, grid in zip(OPTIMIZERS, scores, strict=True):
        for start in starts_of([1.0]):
            given = grid if start.gains else (2.0, 3.0) if "default" in start.name else (9.0, 9.0)
            endings[optimizer, start.name] = [Ending([1.0], score) for score in given]
    return Outcome("m", "Model", "loss", "score", "epoch", endings)


@pytest.mark.parametrize(
    ("scores", "agrees"),
    [
        ([(1.0, 2.5), (1.9, 2.9)], True),
        ([(2.5, 3.5), (4.0, float("inf"))], False),
        ([(1.0, 3.5), (1.0, 1.0)], None),
        ([(1.0, 1.0), (4.0, 4.0)], None),
    ],
)
def test_claim_needs_every_seed_and_optimiser(
    scores: list[tuple[float, float]], agrees: bool | None
) -> None:
    claim = gains_claim(outcome(*scores), starts_of([1.0]))
    assert claim.agrees is agrees
    assert "2.5 by default" in claim.found


def test_quick_run(cli: Cli, data_folder: Path, tmp_path: Path) -> None:
    done = cli(
        *("study", "initializers", "--quick", "--data", data_folder, "--out", "out"),
        *("--set", "gains=[1.0]", "--set", "sequence_images=128", "--set", "dcgan_itrs=2"),
        *("--set", "dcgan_samples=50"),
    )
    assert done.code == 0, done.err
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    for model in ("sequences", "dcgan"):
        for optimizer in OPTIMIZERS:
            runs = results["numbers"][model][optimizer]
            assert len(runs) == 6
            assert all(math.isfinite(ending["score"]) for (ending,) in runs.values())
            assert len({ending["score"] for (ending,) in runs.values()}) == 6
    assert results["claims"][0]["agrees"] is False  # fmod truncates nothing
    assert {figure["name"] for figure in results["figures"]} == {
        *("gains", "starts", "sequences-curves", "dcgan-curves", "truncation")
    }
    for figure in results["figures"]:
        assert (tmp_path / "out" / f"{figure['name']}.png").stat().st_size > 5_000
