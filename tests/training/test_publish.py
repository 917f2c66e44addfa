"""From a run to a model in a zoo: whole, checked against torch, or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.training.conftest import LAST, Cli
from training import checkpoint
from training.draws import noise
from training.ema import standing_statistics
from training.publish import Publication, publish
from zoo.card import Parity
from zoo.catalog import Catalog
from zoo.errors import ExportError
from zoo.exporters.graph import ServedGenerator
from zoo.generator import load_generator
from zoo.latents import latents
from zoo.nets.dcgan import Generator

Weights = Literal["fp16", "fp32"]


def publication(name: str, weights: Weights = "fp32", version: str = "1.0.0") -> Publication:
    return Publication(name, version, "CC0-1.0", "For tests.", weights)


@pytest.fixture(scope="session")
def published(reference_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo with the reference run in it, as `half` and as `full`."""
    zoo = tmp_path_factory.mktemp("published") / "made" / "zoo"
    publish(reference_run, zoo, publication("half", "fp16"))
    publish(reference_run, zoo, publication("full", "fp32", "0.10.2"))
    return zoo


@pytest.fixture(scope="session")
def averaged(reference_run: Path) -> ServedGenerator:
    """The run's averaged generator in torch, made here once more."""
    newest = checkpoint.newest(reference_run / "checkpoints")
    assert newest is not None
    generator = Generator(100, (16, 8, 4), 32)
    generator.load_state_dict(checkpoint.load(newest)["ema"])
    standing_statistics(generator, [(noise(1, 2**63 + i, 256, 100),) for i in range(64)])
    return ServedGenerator(generator, 100)


def images_of(zoo: Path, name: str, n: int) -> NDArray[np.uint8]:
    return load_generator(Catalog.open(zoo).resolve(name), "cpu").generate(range(n), [None] * n)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def copy_of(zoo: Path, target: Path) -> Path:
    shutil.copytree(zoo, target)
    return target


def test_catalog_loads_what_was_published(published: Path) -> None:
    catalog = Catalog.open(published)
    assert catalog.broken == {}
    assert [entry.card.reference for entry in catalog.entries] == ["full@0.10.2", "half@1.0.0"]
    assert names(published) == ["full", "half"]
    assert names(published / "half") == ["card.json", "generator.onnx", "preview.png"]


@pytest.mark.parametrize("weights", ["fp16", "fp32"])
def test_card(published: Path, reference_run: Path, weights: Weights) -> None:
    entry = Catalog.open(published).resolve({"fp16": "half", "fp32": "full"}[weights])
    card, note = entry.card, json.loads((reference_run / "provenance.json").read_text())
    content = (entry.folder / "generator.onnx").read_bytes()
    assert card.architecture == "dcgan"
    assert (card.license, card.limits) == ("CC0-1.0", "For tests.")
    assert card.artifact.sha256 == hashlib.sha256(content).hexdigest()
    assert (card.artifact.opset, card.artifact.weights) == (20, weights)
    assert onnx.load_from_string(content).opset_import[0].version == 20
    assert (card.latent.dim, card.latent.distribution) == (100, "normal")
    assert card.classes is None
    assert (card.image.height, card.image.width, card.image.channels) == (28, 28, 1)
    assert (card.truncation.default, card.truncation.curve) == (None, None)
    assert card.provenance.recipe == "dcgan-emnist"
    assert card.provenance.dataset == "emnist-balanced"
    assert card.provenance.images_seen == 16 * LAST
    for key in ("commit", "started", "finished"):
        assert getattr(card.provenance, key) == note[key]
    assert card.quality is None
    assert card.parity is not None
    assert (card.parity.seeds, card.parity.batch_sizes) == (256, (1, 2, 7, 32))


@pytest.mark.parametrize(("name", "allowed"), [("full", 1), ("half", 2)])
def test_images_are_torchs(
    published: Path, averaged: ServedGenerator, name: str, allowed: int
) -> None:
    with torch.no_grad():
        wanted = averaged(torch.from_numpy(latents(range(256), [None] * 256, 100))).numpy()
    made = images_of(published, name, 256)
    assert made.shape == (256, 28, 28, 1)
    assert made.dtype == np.uint8
    error = np.abs(made.astype(int) - wanted.astype(int))
    parity = Catalog.open(published).resolve(name).card.parity
    assert parity is not None
    assert error.max() <= parity.max_abs_error <= allowed
    assert (error > 0).mean() <= parity.differing_pixels + 1e-3
    assert len(np.unique(wanted)) > 10  # images, not a flat grey that anything equals


def test_images_are_those_of_the_average(published: Path, reference_run: Path) -> None:
    newest = checkpoint.newest(reference_run / "checkpoints")
    assert newest is not None
    raw = Generator(100, (16, 8, 4), 32)
    raw.load_state_dict(checkpoint.load(newest)["generator"])
    standing_statistics(raw, [(noise(1, 2**63 + i, 256, 100),) for i in range(64)])
    with torch.no_grad():
        other = ServedGenerator(raw, 100)(torch.from_numpy(latents(range(16), [None] * 16, 100)))
    error = np.abs(images_of(published, "full", 16).astype(int) - other.numpy().astype(int))
    assert error.max() > 1


def test_half_precision_halves_the_file(published: Path) -> None:
    half, full = ((published / n / "generator.onnx").stat().st_size for n in ("half", "full"))
    assert half < 0.6 * full  # the graph itself weighs some kilobytes in so small a model


def test_preview(published: Path) -> None:
    with Image.open(published / "half" / "preview.png") as preview:
        assert preview.size == (8 * 30 + 2, 8 * 30 + 2)
        assert preview.mode == "L"
        tile = np.asarray(preview.crop((32, 2, 60, 30)))
    assert np.array_equal(tile, images_of(published, "half", 2)[1, :, :, 0])


def test_without_rewrites(cli: Cli, reference_run: Path, published: Path, tmp_path: Path) -> None:
    arguments = ("--name", "plain", "--zoo", tmp_path, "--weights", "fp32", "--no-rewrites")
    ended = cli("publish", reference_run, *arguments)
    assert ended.code == 0, ended.err
    plain = onnx.load(tmp_path / "plain" / "generator.onnx").graph.node
    assert [node.op_type for node in plain].count("ConvTranspose") == 3
    difference = images_of(tmp_path, "plain", 32).astype(int) - images_of(published, "full", 32)
    assert np.abs(difference).max() <= 1


def test_publishing_again_gives_the_same_file(
    published: Path, reference_run: Path, tmp_path: Path
) -> None:
    (tmp_path / ".again.partial" / "folder").mkdir(parents=True)  # of a publisher that was killed
    entry = publish(reference_run, tmp_path, publication("again", "fp16"))
    assert names(tmp_path) == ["again"]
    assert entry.folder == tmp_path / "again"
    again = (entry.folder / "generator.onnx").read_bytes()
    assert again == (published / "half" / "generator.onnx").read_bytes()


def test_same_version_is_not_overwritten(
    cli: Cli, published: Path, reference_run: Path, tmp_path: Path
) -> None:
    zoo = copy_of(published, tmp_path / "zoo")
    before = (zoo / "half" / "card.json").read_bytes()
    ended = cli("publish", reference_run, "--name", "half", "--zoo", zoo)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"error: half@1.0.0 is in {zoo} already and is not overwritten; choose another --version\n"
    )
    assert names(zoo) == ["full", "half"]
    assert (zoo / "half" / "card.json").read_bytes() == before


def test_second_version_from_an_unfinished_run(
    cli: Cli, published: Path, reference_run: Path, tmp_path: Path
) -> None:
    zoo = copy_of(published, tmp_path / "zoo")
    run = copy_of(reference_run, tmp_path / "run")
    note = json.loads((run / "provenance.json").read_text())
    del note["finished"]
    (run / "provenance.json").write_text(json.dumps(note))
    command = ("publish", run, "--name", "half", "--zoo", zoo, "--version", "1.10.0")
    ended = cli(*command, "--license", "MIT", "--limits", "None known.")
    assert ended.code == 0
    assert ended.err == "note: this run has not reached the end of its recipe\n"
    parity, place = ended.out.splitlines()
    assert place == f"published half@1.10.0 in {zoo}/half@1.10.0"
    entry = Catalog.open(zoo).resolve("half")
    assert entry.folder == zoo / "half@1.10.0"
    assert (entry.card.version, entry.card.license) == ("1.10.0", "MIT")
    assert (entry.card.artifact.weights, entry.card.limits) == ("fp16", "None known.")
    assert entry.card.provenance.finished is None
    assert entry.card.provenance.started == note["started"]
    found = entry.card.parity
    assert found is not None
    assert parity == (
        f"parity with torch over 256 seeds: at most {found.max_abs_error} of 255 grey levels, "
        f"{found.differing_pixels:.2%} of pixels differ"
    )
    assert Catalog.open(zoo).resolve("half@1.0.0").folder == zoo / "half"
    again = cli(*command)
    assert again.code == 2
    assert f"error: half@1.10.0 is in {zoo} already" in again.err


def fail_export(*_: Any) -> Parity:
    raise ExportError("the exported graph differs from torch by 99 grey levels")


def test_failure_in_the_middle_leaves_nothing(
    cli: Cli, reference_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.publish.compare", fail_export)
    ended = cli("publish", reference_run, "--name", "half", "--zoo", "zoo")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: the exported graph differs from torch by 99 grey levels\n"
    assert list((tmp_path / "zoo").rglob("*")) == []


def test_run_without_checkpoint(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for run in ("run", "missing"):
        ended = cli("publish", run, "--name", "a", "--zoo", "zoo")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == f"error: {run} holds no checkpoint to publish\n"
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize(
    ("field", "bad", "good"),
    [
        ("--name", ["A", "", "-a", "a b", "a/b", "../a", "a@1", "é", "a" * 65], ["a", "a" * 64]),
        ("--version", ["1", "1.0", "1.0.0.0", "01.0.0", "v1.0.0", "1.0.0-rc1", ""], ["0.0.0"]),
        ("--version", ["1.0.1٣", "1.0.0\n", "1.0.1000000000"], ["10.20.999999999"]),
    ],
)
def test_name_and_version(cli: Cli, field: str, bad: list[str], good: list[str]) -> None:
    options = {"--name": "a", "--version": "1.0.0", "--zoo": "zoo"}
    for value in bad:
        given = [part for pair in (options | {field: value}).items() for part in pair]
        ended = cli("publish", "run", *given)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith(f"error: {field}: {value!r} does not match ^")
    for value in good:  # these get as far as the run, which is not there
        given = [part for pair in (options | {field: value}).items() for part in pair]
        assert cli("publish", "run", *given).err.endswith("holds no checkpoint to publish\n")


def test_zoo_that_cannot_be_written(cli: Cli, reference_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = cli("publish", reference_run, "--name", "a", "--zoo", "file/zoo")
    assert ended.code == 2
    assert ended.err == "error: zoo file/zoo: cannot be written: Not a directory\n"
