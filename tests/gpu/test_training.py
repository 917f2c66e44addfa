"""Training on a GPU: every precision goes on from where it stopped, and ends as a served model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ganagerie.doctor.examine import MOST_APART
from tests.training import conftest as dcgan
from tests.training import small_biggan as biggan
from tests.training.test_publish import publication
from training.config import Recipe
from training.data import ImageSet
from training.launch import launch
from training.publish import publish
from zoo.catalog import Catalog
from zoo.generator import load_generator


def small(name: str, *overrides: str) -> tuple[Recipe, ImageSet]:
    """A recipe and images for it."""
    if name == "dcgan-emnist":
        return dcgan.tiny(*overrides), dcgan.synthetic(50)
    every = ("log_every=1", "checkpoint_every=10", "sample_every=10")
    return biggan.small(*every, *overrides), biggan.shapes()


@pytest.mark.filterwarnings("ignore")  # torch.compile warns of what it could do better
@pytest.mark.parametrize(
    "how", [("precision=fp32", "compile=false"), ("precision=bf16", "compile=true")]
)
@pytest.mark.parametrize("name", ["dcgan-emnist", "biggan-emnist"])
def test_a_run_stops_goes_on_and_is_published(
    tmp_path: Path, name: str, how: tuple[str, str]
) -> None:
    run = tmp_path / "run"
    for last, resume in ((20, False), (40, True)):
        recipe, data = small(name, f"max_itr={last}", *how)
        device = torch.device("cuda")
        outcome = launch(recipe, data, run, resume=resume, device=device, command=[])
        assert outcome.itr == last
    records = dcgan.metrics(run)
    assert [record["itr"] for record in records] == list(range(1, 41))
    assert np.isfinite([list(record["loss"].values()) for record in records]).all()
    publish(run, tmp_path / "zoo", publication("made"))
    on_cpu, on_gpu = (
        load_generator(Catalog.open(tmp_path / "zoo").resolve("made"), device)
        for device in ("cpu", "cuda")
    )
    mixtures = [((i % 3, 1.0),) for i in range(8)] if on_cpu.card.classes else None
    one, other = (
        generator.generate(range(8), [None] * 8, mixtures).astype(np.int16)
        for generator in (on_cpu, on_gpu)
    )
    assert np.abs(one - other).max() <= MOST_APART
