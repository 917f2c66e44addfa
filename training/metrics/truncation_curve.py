"""All figures of one sample against real images, and of a generator at several thresholds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from training.metrics.features import Judge, Sample, describe
from training.metrics.frechet import Gaussian, frechet_distance
from training.metrics.kernel import kernel_distance
from training.metrics.precision_recall import Support, precision_recall
from training.metrics.scores import class_accuracy, class_score, intra_class_distance
from zoo.generator import Generator, Mixture
from zoo.latents import Truncation

FIRST_SEED = 10_000_000  # beyond what people look at when they choose a model
_BATCH = 100

METRICS = ("fid", "kid", "score", "precision", "recall", "accuracy", "intra_class_distance")


class Measurement(BaseModel):
    """Figures of one sample. `null` is what could not be measured.

    Attributes:
        samples: how many images were measured, against as many real ones or more.
        threshold: of the truncation; None for none, and for real images.
        fid: Fréchet distance to the real images, in the judge's features; lower is better.
        kid: kernel distance to the real images; lower is better.
        score: the Inception score's formula on the judge's probabilities; higher is better.
        precision: share of the images that look real, 0 to 1.
        recall: share of the real images that could have been made, 0 to 1.
        accuracy: share of the images in which the judge finds the class that was asked for.
        class_accuracy: the same for each class by name.
        intra_class_distance: between two images of a class, in features; low is little variety.
            Classes are those asked for, or those found where nothing was asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    samples: int = Field(gt=0)
    threshold: float | None
    fid: float
    kid: float
    score: float
    precision: float
    recall: float
    accuracy: float | None
    class_accuracy: dict[str, float | None] | None
    intra_class_distance: float | None

    def metrics(self) -> dict[str, float]:
        """The figures that are there, by name, without those of single classes."""
        values = {name: getattr(self, name) for name in METRICS}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Reference:
    """Real images, prepared once for many comparisons."""

    sample: Sample
    gaussian: Gaussian
    support: Support

    @classmethod
    def fit(cls, sample: Sample) -> Reference:
        """What all comparisons share."""
        return cls(sample, Gaussian.fit(sample.features), Support.fit(sample.features))


def measure(
    sample: Sample,
    reference: Reference,
    class_names: tuple[str, ...],
    threshold: float | None = None,
) -> Measurement:
    """Every figure of `sample` against `reference`; no accuracy where there are no class names."""
    precision, recall = precision_recall(reference.support, Support.fit(sample.features))
    labels, accuracy, shares = sample.labels, None, None
    if labels is not None and class_names:
        accuracy, of_classes = class_accuracy(sample.predicted, labels, len(class_names))
        shares = dict(zip(class_names, of_classes, strict=True))
    return Measurement(
        samples=len(sample),
        threshold=threshold,
        fid=frechet_distance(Gaussian.fit(sample.features), reference.gaussian),
        kid=kernel_distance(sample.features, reference.sample.features),
        score=class_score(sample.probabilities),
        precision=precision,
        recall=recall,
        accuracy=accuracy,
        class_accuracy=shares,
        intra_class_distance=intra_class_distance(
            sample.features, sample.predicted if labels is None else labels
        ),
    )


def truncation_curve(
    generator: Generator,
    judge: Judge,
    reference: Reference,
    thresholds: Sequence[float | None],
    samples: int,
    advance: Callable[[float | None, int], None] = lambda *_: None,
) -> Iterator[Measurement]:
    """Figures of a generator at each threshold, from the same seeds.

    Args:
        generator: its classes, if both have any, are the judge's; each makes up an equal share.
        judge: decides the features.
        reference: the real images.
        thresholds: None for no truncation.
        samples: images at each threshold.
        advance: called after every batch with the threshold and how many images it had.
    """
    n_classes = len(generator.card.class_names)
    labels = np.arange(samples, dtype=np.int64) % n_classes if n_classes else None

    for threshold in thresholds:

        def batches(threshold: float | None = threshold) -> Iterator[Tensor]:
            for start in range(0, samples, _BATCH):
                numbers = range(start, min(start + _BATCH, samples))
                yield generated(generator, numbers, threshold)
                advance(threshold, len(numbers))

        sample = describe(judge, batches(), labels)
        yield measure(sample, reference, judge.class_names, threshold)


def generated(generator: Generator, numbers: range, threshold: float | None) -> Tensor:
    """Images of a sample by number: uint8 [N, C, H, W]."""
    n_classes = len(generator.card.class_names)
    truncation = None if threshold is None else Truncation(threshold)
    mixtures: list[Mixture] | None = None
    if n_classes:
        mixtures = [((i % n_classes, 1.0),) for i in numbers]
    seeds = [FIRST_SEED + i for i in numbers]
    images = generator.generate(seeds, [truncation] * len(numbers), mixtures)
    return torch.from_numpy(images).permute(0, 3, 1, 2)
