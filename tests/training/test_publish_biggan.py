"""A class-conditional run becomes a model whose classes and thresholds mean something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from tests.training.small_biggan import CLASSES, shapes, small
from training import averaged, checkpoint
from training.averaged import served_generator, tabulate_statistics
from training.data import ImageSet
from training.launch import launch
from training.publish import Publication, publish
from zoo.catalog import Catalog
from zoo.exporters.truncation_knots import N_KNOTS, thresholds
from zoo.generator import Generator, load_generator
from zoo.latents import Truncation, TruncationMode, latents
from zoo.nets.layers import StandingBatchNorm2d


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("biggan") / "run"
    recipe = small("max_itr=6", "ema.start_itr=2", "ema.decay=0.5", "optimizer.g_lr=0.01")
    launch(recipe, shapes(), folder, resume=False, device=torch.device("cpu"), command=[])
    return folder


@pytest.fixture(scope="module")
def zoo(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(averaged, "_BATCHES_A_KNOT", 2)
        publish(run, folder, Publication("full", "1.0.0", "Apache-2.0", "A test.", "fp32"))
        publish(run, folder, Publication("half", "1.0.0", "Apache-2.0", "A test.", "fp16"))
        publish(run, folder, Publication("plain", "1.0.0", "Apache-2.0", "A test.", "fp32", False))
    return folder


@pytest.fixture(scope="module")
def generator(zoo: Path) -> Generator:
    return load_generator(Catalog.open(zoo).resolve("full"), "cpu")


def images(
    generator: Generator, classes: list[int], truncation: Truncation | None = None
) -> NDArray[np.int16]:
    n = len(classes)
    mixtures = [((index, 1.0),) for index in classes]
    return generator.generate([5] * n, [truncation] * n, mixtures).astype(np.int16)


@pytest.mark.parametrize("name", ["full", "half"])
def test_card_says_what_the_model_is(zoo: Path, name: str) -> None:
    card = Catalog.open(zoo).resolve(name).card
    assert card.architecture == "biggan"
    assert card.class_names == CLASSES
    assert (card.latent.dim, card.image.height, card.image.channels) == (12, 28, 1)
    assert card.provenance.images_seen == 6 * 2 * 12
    assert card.parity is not None
    assert card.parity.max_abs_error <= (1 if name == "full" else 2)
    assert (zoo / name / "preview.png").stat().st_size > 1000


def test_rewrites_change_the_graph_and_not_the_images(zoo: Path, generator: Generator) -> None:
    plain = load_generator(Catalog.open(zoo).resolve("plain"), "cpu")
    for truncation in (None, Truncation(0.4), Truncation(2.0)):
        difference = images(plain, [0, 1, 2], truncation) - images(generator, [0, 1, 2], truncation)
        assert np.abs(difference).max() <= 1
    graphs = [onnx.load(zoo / name / "generator.onnx").graph for name in ("plain", "full")]
    normalised = [
        sum(node.op_type == "BatchNormalization" for node in graph.node) for graph in graphs
    ]
    assert normalised == [0, 5]


def test_classes_and_truncation_change_the_image_of_a_seed(generator: Generator) -> None:
    circle, square, star = images(generator, [0, 1, 2])
    assert np.abs(circle - square).max() > 8
    assert np.abs(square - star).max() > 8
    assert np.abs(images(generator, [0], Truncation(0.3)) - circle).max() > 8


def test_no_truncation_is_the_limit_of_large_thresholds(generator: Generator) -> None:
    far = images(generator, [0, 1, 2], Truncation(8.0))
    assert np.abs(far - images(generator, [0, 1, 2])).max() <= 1


def test_scale_of_one_is_a_threshold_of_two(generator: Generator) -> None:
    scale = images(generator, [0, 1, 2], Truncation(1.0, TruncationMode.SCALE))
    assert np.abs(scale - images(generator, [0, 1, 2], Truncation(2.0))).max() <= 1


def test_truncation_zero_leaves_only_the_class(generator: Generator) -> None:
    zero = Truncation(0.0)
    one = generator.generate([1, 2], [zero, zero], [((0, 1.0),)] * 2)
    assert np.array_equal(one[0], one[1])


def test_statistics_of_a_knot_are_those_of_its_threshold(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(averaged, "_BATCHES_A_KNOT", 2)
    newest = checkpoint.newest(run / "checkpoints")
    assert newest is not None
    served = served_generator(small(), checkpoint.load(newest))
    first = next(m for m in served.modules() if isinstance(m, StandingBatchNorm2d))
    assert first.mean_table is not None
    assert first.var_table is not None
    assert first.mean_table.shape[0] == N_KNOTS
    knot = 8
    truncation = Truncation(thresholds()[knot] or 0.0)
    # The first batch norm sees the linear layer's maps of the first chunk of z, and nothing else.
    linear = served.get_submodule("generator.linear")
    seeds = range(2**63, 2**63 + 2 * 256)
    z = torch.from_numpy(latents(seeds, [truncation] * 512, 12))[:, :4]
    with torch.no_grad():
        maps = linear(z).unflatten(1, (-1, 7, 7)).chunk(2)
    means = torch.stack([part.mean((0, 2, 3)) for part in maps]).mean(0)
    torch.testing.assert_close(first.mean_table[knot], means, rtol=1e-3, atol=1e-4)
    assert first.running_mean is not None
    assert torch.equal(first.running_mean, first.mean_table[-1])


def test_tables_grow_with_the_threshold(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(averaged, "_BATCHES_A_KNOT", 1)
    newest = checkpoint.newest(run / "checkpoints")
    assert newest is not None
    served = served_generator(small(), checkpoint.load(newest))
    generator = served.generator
    tabulate_statistics(generator, 12, 3)
    first = next(m for m in generator.modules() if isinstance(m, StandingBatchNorm2d))
    assert first.var_table is not None
    spread = first.var_table.mean(1)
    assert (spread.diff() > 0).all()  # a wider z makes wider maps


def test_a_run_without_classes_is_published_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(averaged, "_BATCHES_A_KNOT", 1)
    data = ImageSet(shapes().images, torch.zeros(60, dtype=torch.int64), ())
    recipe = small("max_itr=2")
    launch(recipe, data, tmp_path / "run", resume=False, device=torch.device("cpu"), command=[])
    publish(tmp_path / "run", tmp_path, Publication("free", "1.0.0", "MIT", "A test.", "fp32"))
    entry = Catalog.open(tmp_path).resolve("free")
    assert entry.card.classes is None
    made = load_generator(entry, "cpu").generate([1, 2], [None, Truncation(0.5)])
    assert made.shape == (2, 28, 28, 1)
