"""Measuring a model of the zoo: real images, a classifier, a curve, pictures, the card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from training.errors import RunError
from training.metrics.features import Judge, describe_images
from training.metrics.real_images import RealImages
from training.metrics.truncation_curve import (
    FIRST_SEED,
    Measurement,
    Reference,
    measure,
    truncation_curve,
)
from training.pictures import class_mixtures, interpolations, sample_grid, truncations
from training.plots import plot_truncation_curve
from training.runlog import write_text_atomically
from zoo.card import CARD, Card, Metric, TruncationPoint
from zoo.catalog import Entry
from zoo.errors import one_line
from zoo.generator import Generator

RESULT, CURVE = "evaluation.json", "truncation_curve.png"
_TOOL = "ganagerie evaluate"


class Evaluation(BaseModel):
    """What was measured of one model, and on what.

    Attributes:
        model: `name@version`.
        artifact_sha256: of the file that made the images.
        dataset: whose training images are the real ones.
        classifier: whose features were compared: name of its recipe, or inception-v3.
        classifier_test_accuracy: on the whole test split; None for Inception, which has other
            classes.
        first_seed: image i has seed `first_seed` + i at every threshold.
        reference_samples: real training images that everything is compared with. Classes have
            equal shares beside a generator with classes, else those of the training images.
        real: other training images, as many as generated ones: what a perfect generator gets.
        held_out: test images, as many or fewer; the classifier has not seen these, so its accuracy
            on them is the one to compare with.
        curve: the generator at each threshold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str
    artifact_sha256: str
    dataset: str
    classifier: str
    classifier_test_accuracy: float | None
    first_seed: int
    reference_samples: int
    real: Measurement
    held_out: Measurement
    curve: tuple[Measurement, ...]

    def to_json(self) -> str:
        """As it stands in `evaluation.json`."""
        return self.model_dump_json(indent=2) + "\n"


def evaluate(
    generator: Generator,
    judge: Judge,
    data: RealImages,
    thresholds: Sequence[float | None],
    samples: int,
    advance: Callable[[float | None, int], None] = lambda *_: None,
) -> Evaluation:
    """Measures a generator at each threshold, and real images beside it.

    Args:
        generator: its images and classes are those that the judge knows.
        judge: decides the features.
        data: that the generator was trained on.
        thresholds: None for no truncation.
        samples: images at each threshold, and of real ones; see `RealImages.draw`.
        advance: called after every batch with the threshold and how many images it had.

    Raises:
        DatasetError: too many samples for the data set, or too few for the metrics.
    """
    names, card = judge.class_names, generator.card
    drawn = data.draw(samples, equal_shares=bool(card.class_names))
    reference = Reference.fit(describe_images(judge, data.train, drawn.reference))
    real = describe_images(judge, data.train, drawn.real)
    test = describe_images(judge, data.test, drawn.held_out)
    if not card.class_names:
        # Beside a generator without classes real images are measured in the way that it is.
        real, test = real.unlabelled, test.unlabelled
    return Evaluation(
        model=card.reference,
        artifact_sha256=card.artifact.sha256,
        dataset=data.name,
        classifier=judge.name,
        classifier_test_accuracy=judge.test_accuracy,
        first_seed=FIRST_SEED,
        reference_samples=samples,
        real=measure(real, reference, names),
        held_out=measure(test, reference, names),
        curve=tuple(truncation_curve(generator, judge, reference, thresholds, samples, advance)),
    )


def write_evaluation(folder: Path, evaluation: Evaluation, generator: Generator) -> list[Path]:
    """Writes the figures, their plot and the pictures into `folder`; returns what was written.

    Raises:
        RunError: the folder cannot be written.
    """
    pictures = {
        "samples.png": sample_grid(generator),
        "truncation.png": truncations(generator),
        "interpolation.png": interpolations(generator),
    }
    if generator.card.class_names:
        pictures["classes.png"] = class_mixtures(generator)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomically(folder / RESULT, evaluation.to_json())
        title = f"{evaluation.model}, {evaluation.curve[0].samples:,} images a threshold"
        references = (("real, training", evaluation.real), ("real, test", evaluation.held_out))
        plot_truncation_curve(folder / CURVE, title, evaluation.curve, references)
        for name, picture in pictures.items():
            picture.save(folder / name, optimize=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {one_line(error)}") from error
    return [folder / name for name in (RESULT, CURVE, *pictures)]


def with_evaluation(card: Card, evaluation: Evaluation) -> Card:
    """The card with what was measured: quality without truncation, and the truncation's curve.

    Raises:
        RunError: the evaluation is of another file, or did not measure without truncation.
    """
    if evaluation.artifact_sha256 != card.artifact.sha256:
        raise RunError(f"{card.reference}: the evaluation is of another {card.artifact.file}")
    whole = [point for point in evaluation.curve if point.threshold is None]
    if not whole:
        raise RunError(
            "a card states quality without truncation, which was not measured: "
            "add none to --thresholds"
        )
    tool = f"{_TOOL}, {evaluation.classifier}"
    if evaluation.classifier_test_accuracy is not None:
        tool += f" (test accuracy {evaluation.classifier_test_accuracy:.4f})"
    rows = (("", whole[0]), (" real", evaluation.real), (" test", evaluation.held_out))
    quality = tuple(
        Metric(name=f"{name}{suffix}", value=value, samples=row.samples, tool=tool)
        for suffix, row in rows
        for name, value in row.metrics().items()
    )
    curve = tuple(
        TruncationPoint(threshold=p.threshold, metrics=p.metrics()) for p in evaluation.curve
    )
    advice = card.truncation.model_copy(update={"curve": curve})
    return card.model_copy(update={"quality": quality, "truncation": advice})


def write_card(entry: Entry, evaluation: Evaluation) -> None:
    """Replaces a model's card by one with the evaluation in it.

    Raises:
        RunError: see `with_evaluation`, or the card cannot be written.
    """
    card = with_evaluation(entry.card, evaluation)
    try:
        write_text_atomically(entry.folder / CARD, card.to_json())
    except OSError as error:
        raise RunError(f"{entry.folder / CARD}: cannot be written: {one_line(error)}") from error
