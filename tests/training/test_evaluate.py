"""Evaluating toy models with a classifier that nobody trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.toys import write_toy
from tests.training.conftest import Cli
from training.classifier import (
    ClassifierRecipe,
    TrainedClassifier,
    load_classifier,
    save_classifier,
)
from training.data import ImageSet
from training.errors import RunError
from training.evaluate import Evaluation, evaluate, with_evaluation, write_card
from training.metrics import features
from training.metrics.real_images import RealImages
from training.pictures import class_mixtures, interpolations, sample_grid, truncations
from zoo.catalog import Catalog, Entry
from zoo.generator import Generator, load_generator
from zoo.latents import Truncation, latents
from zoo.nets.classifier import Classifier

NAMES = ("A", "B", "C")
SAMPLES = 30


def images(n: int, seed: int) -> ImageSet:
    pixels = torch.randint(0, 256, (n, 1, 28, 28), generator=torch.Generator().manual_seed(seed))
    return ImageSet(pixels.to(torch.uint8), torch.arange(n) % 3, NAMES)


REAL = RealImages(images(2 * SAMPLES, 1), images(20, 2), "letters-of-a-test")


@pytest.fixture(scope="module")
def classifier_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("classifier") / "classifier.pt"
    recipe = ClassifierRecipe(task="classifier", name="tiny", epochs=1)
    save_classifier(path, TrainedClassifier(Classifier(3).eval(), recipe, NAMES, 1, 0.25, 20))
    return path


@pytest.fixture(scope="module")
def classifier(classifier_path: Path) -> TrainedClassifier:
    return load_classifier(classifier_path)


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    folder = tmp_path / "zoo"
    write_toy(folder, "letters", classes=NAMES, side=28)
    write_toy(folder, "plain", side=28)
    return folder


@pytest.fixture
def letters(zoo: Path) -> Generator:
    return load_generator(Catalog.open(zoo).resolve("letters"), "cpu")


@pytest.fixture
def plain(zoo: Path) -> Generator:
    return load_generator(Catalog.open(zoo).resolve("plain"), "cpu")


def test_every_figure_is_there(letters: Generator, classifier: TrainedClassifier) -> None:
    seen: list[tuple[float | None, int]] = []
    result = evaluate(
        letters, classifier, REAL, (0.5, None), SAMPLES, lambda t, n: seen.append((t, n))
    )
    assert [point.threshold for point in result.curve] == [0.5, None]
    assert seen == [(0.5, SAMPLES), (None, SAMPLES)]
    for point in (*result.curve, result.real, result.held_out):
        assert len(point.metrics()) == 7
        assert point.class_accuracy is not None
        assert tuple(point.class_accuracy) == NAMES
    assert (result.real.samples, result.held_out.samples) == (SAMPLES, 18)  # 6 test images show C
    assert result.curve[0].samples == result.reference_samples == SAMPLES
    assert (result.dataset, result.classifier) == ("letters-of-a-test", "tiny")
    assert result.classifier_test_accuracy == 0.25
    # Other training images are nearer to training images than the toy's are.
    assert result.real.fid < result.curve[1].fid
    assert result.real.kid < result.curve[1].kid
    # Truncation takes variety away.
    distances = [point.intra_class_distance for point in result.curve]
    assert distances[0] is not None
    assert distances[1] is not None
    assert distances[0] < distances[1]
    assert Evaluation.model_validate_json(result.to_json()) == result


def test_figures_by_a_loop_over_single_images(
    letters: Generator, classifier: TrainedClassifier
) -> None:
    point = evaluate(letters, classifier, REAL, (0.7,), SAMPLES).curve[0]
    said, right = [], [0, 0, 0]
    for i in range(SAMPLES):
        pixels = letters.generate([10_000_000 + i], [Truncation(0.7)], [((i % 3, 1.0),)])
        unit = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2) / 255
        logits = classifier.network(unit)[0].double().numpy()
        weights = np.exp(logits - logits.max())
        said.append(weights / weights.sum())
        right[i % 3] += int(logits.argmax() == i % 3)
    marginal = np.mean(said, axis=0)
    divergences = [sum(p * math.log(p / m) for p, m in zip(x, marginal, strict=True)) for x in said]
    assert point.score == pytest.approx(math.exp(np.mean(divergences)), rel=1e-5)
    assert point.accuracy == pytest.approx(sum(right) / SAMPLES)
    assert point.class_accuracy == pytest.approx(
        {name: n / (SAMPLES / 3) for name, n in zip(NAMES, right, strict=True)}
    )


def test_model_without_classes(plain: Generator, classifier: TrainedClassifier) -> None:
    result = evaluate(plain, classifier, REAL, (None,), SAMPLES)
    for point in (*result.curve, result.real, result.held_out):
        assert point.accuracy is None
        assert point.class_accuracy is None
        assert point.metrics().keys() >= {"fid", "kid", "score", "precision", "recall"}


def tile(sheet: Image.Image, row: int, column: int) -> Any:
    left, top = 2 + 30 * column, 2 + 30 * row
    return np.asarray(sheet.crop((left, top, left + 28, top + 28)))


def test_pictures(letters: Generator, plain: Generator) -> None:
    one = {index: ((index, 1.0),) for index in range(3)}

    def image(seed: int, mixture: tuple[tuple[int, float], ...], t: float | None) -> object:
        truncation = None if t is None else Truncation(t)
        return letters.generate([10_000_000 + seed], [truncation], [mixture])[0, :, :, 0].tolist()

    samples = sample_grid(letters)
    assert samples.size == (302, 92)
    assert tile(samples, 2, 4).tolist() == image(24, one[2], None)
    thresholds = truncations(letters)
    assert thresholds.size == (302, 302)
    assert tile(thresholds, 4, 0).tolist() == image(4, one[1], 0.0)
    assert tile(thresholds, 4, 9).tolist() == image(4, one[1], None)
    mixed = class_mixtures(letters)
    assert tile(mixed, 2, 0).tolist() == image(2, one[2], None)
    assert tile(mixed, 2, 9).tolist() == image(2, one[0], None)
    assert tile(mixed, 2, 3).tolist() == image(2, ((2, 2 / 3), (0, 1 / 3)), None)
    between = interpolations(letters)
    assert between.size == (302, 302)
    assert tile(between, 4, 0).tolist() == image(4, one[1], None)
    assert tile(between, 4, 9).tolist() == image(5, one[1], None)
    z = latents([10_000_004, 10_000_005], [None, None], letters.card.latent.dim).astype(float)
    third = math.pi / 6
    middle = (math.cos(third) * z[:1] + math.sin(third) * z[1:]).astype(np.float32)
    made = letters.generate_from(middle, [None], [one[1]])[0, :, :, 0]
    assert np.abs(tile(between, 4, 3).astype(int) - made).max() <= 1
    for picture in (sample_grid(plain), truncations(plain), interpolations(plain)):
        assert picture.size == (302, 302)


def test_card(zoo: Path, letters: Generator, classifier: TrainedClassifier) -> None:
    entry = Catalog.open(zoo).resolve("letters")
    result = evaluate(letters, classifier, REAL, (0.5, None), SAMPLES)
    write_card(entry, result)
    card = Catalog.open(zoo).resolve("letters").card
    assert sorted(path.name for path in entry.folder.iterdir()) == ["card.json", "generator.onnx"]
    assert card.quality is not None
    measured = {metric.name: metric for metric in card.quality}
    assert len(measured) == len(card.quality) == 21
    assert measured["fid"].value == result.curve[1].fid
    assert measured["fid real"].value == result.real.fid
    assert (measured["accuracy test"].value, measured["accuracy test"].samples) == (
        result.held_out.accuracy,
        18,
    )
    assert measured["fid"].tool == "ganagerie evaluate, tiny (test accuracy 0.2500)"
    assert card.truncation.curve is not None
    assert [point.threshold for point in card.truncation.curve] == [0.5, None]
    assert card.truncation.curve[0].metrics == result.curve[0].metrics()
    untouched = {"quality": None, "truncation": entry.card.truncation}
    assert card.model_copy(update=untouched) == entry.card


def test_card_refuses(letters: Generator, classifier: TrainedClassifier) -> None:
    truncated = evaluate(letters, classifier, REAL, (0.5,), SAMPLES)
    with pytest.raises(RunError, match=r"which was not measured: add none to --thresholds$"):
        with_evaluation(letters.card, truncated)
    other = truncated.model_copy(update={"artifact_sha256": "0" * 64})
    with pytest.raises(RunError, match=r"^letters@1.0.0: the evaluation is of another generator"):
        with_evaluation(letters.card, other)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command line sees synthetic images, and no bundled classifier."""
    monkeypatch.setattr(
        "training.metrics.real_images.load_dataset",
        lambda *_, train=True, **__: REAL.train if train else REAL.test,
    )
    monkeypatch.setattr(features, "BUNDLED_CLASSIFIER", tmp_path / "none.pt")


@pytest.mark.usefixtures("few")
def test_command(cli: Cli, zoo: Path, classifier_path: Path) -> None:
    common = ("--zoo", zoo, "--classifier", classifier_path, "--samples", "12")
    ended = cli("evaluate", "letters", *common, "--thresholds", "1, none", "--write-card")
    assert ended.code == 0, ended.err
    rows = [line.split() for line in ended.out.splitlines() if line.strip()]
    folder = Path("evaluations/letters@1.0.0")
    assert sorted(path.name for path in folder.iterdir()) == [
        "classes.png",
        "evaluation.json",
        "interpolation.png",
        "samples.png",
        "truncation.png",
        "truncation_curve.png",
    ]
    with Image.open(folder / "truncation_curve.png") as plot:
        assert plot.size[0] > 800
        assert len(np.unique(np.asarray(plot.convert("L")))) > 10
    saved = Evaluation.model_validate_json((folder / "evaluation.json").read_text())
    points = (*saved.curve, saved.real, saved.held_out)
    titles = (["1"], ["none"], ["real,", "training"], ["real,", "test"])
    for title, point in zip(titles, points, strict=True):
        assert [*title, "12", *(f"{value:.4g}" for value in point.metrics().values())] in rows
    card = Catalog.open(zoo).resolve("letters").card
    assert card.quality is not None
    assert {m.value for m in card.quality if m.name == "fid"} == {saved.curve[1].fid}

    again = cli("evaluate", "letters", *common, "--thresholds", "none", "--format", "json")
    assert again.code == 0, again.err
    assert Evaluation.model_validate_json(again.out).curve == saved.curve[1:]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lettres"], "no model 'lettres'; did you mean 'letters'? There is: "),
        (["letters"], "no classifier to measure with; train one: ganagerie train "),
        (["letters", "--classifier", "no.pt"], "no classifier no.pt: there is no such file"),
        (
            ["letters", "--thresholds", "0.5,much"],
            "--thresholds: 'much' must be a number, 0 or more, or none, as in 0.5,1.0,none",
        ),
        (["letters", "--thresholds", "-0.5"], "--thresholds: '-0.5' must be a number, 0 or more"),
        (["letters", "--thresholds", "nan"], "--thresholds: 'nan' must be a number, 0 or more"),
        (["letters", "--thresholds", ""], "--thresholds: '' must be a number, 0 or more"),
        (["letters", "--thresholds", "1,1.0"], "--thresholds: '1.0' is there twice"),
        (
            ["letters", "--thresholds", "1", "--write-card"],
            "--thresholds: a card needs the figures of no truncation: add none",
        ),
    ],
)
def test_command_refuses(cli: Cli, zoo: Path, arguments: list[str], message: str) -> None:
    ended = cli("evaluate", *arguments, "--zoo", zoo)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {message}")
    assert ended.err.count("\n") == 1
    assert not Path("evaluations").exists()


@pytest.mark.usefixtures("few")
def test_run_directory_is_published_for_the_time_being(
    cli: Cli, zoo: Path, classifier_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "run" / "checkpoints").mkdir(parents=True)
    seen: list[Path] = []

    def publish(run: Path, folder: Path, publication: object) -> Entry:
        assert run == Path("runs/run")
        seen.append(folder)
        return Catalog.open(zoo).resolve("plain")

    monkeypatch.setattr("training.publish.publish", publish)
    common = ("--classifier", classifier_path, "--samples", "12", "--thresholds", "none")
    ended = cli("evaluate", Path("runs/run"), *common)
    assert ended.code == 0, ended.err
    assert Path("evaluations/run/evaluation.json").is_file()
    assert len(seen) == 1
    assert not seen[0].exists()

    refused = cli("evaluate", Path("runs/run"), *common, "--write-card")
    assert (refused.code, refused.err) == (
        2,
        "error: --write-card: runs/run is a run and has no card; publish it first\n",
    )
