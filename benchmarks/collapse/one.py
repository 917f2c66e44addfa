"""One run of the suite: trains it, then measures every checkpoint's average generator.

Measured is what the monitor does not see: the Fréchet distance of fresh samples to real images in
the features of the bundled EMNIST classifier.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.collapse.runs import RUNS, Fault, Run
from training import checkpoint
from training.batches import one_hot
from training.classifier import load_classifier
from training.config import Recipe, load_recipe
from training.data import Images, ImageSet, load_emnist
from training.draws import noise
from training.ema import standing_statistics
from training.errors import CollapsedError
from training.launch import launch
from training.metrics.features import describe, describe_images, find_classifier
from training.metrics.frechet import Gaussian, frechet_distance
from training.networks import Subject, build, pixel_range
from training.runlog import CHECKPOINTS, read_recipe, write_text_atomically
from training.steps import Inputs

TRUTH = "truth.csv"
_SAMPLES, _REAL, _BATCH = 1000, 2000, 125
_STUCK = 16  # images that a stuck loader gives
_CLASS = 10  # that a loader of one class gives: A
_FRESH = 2**60  # iterations of the noise of fresh samples begin here


@dataclass
class FaultyLoader:
    """Images from a loader that goes wrong once it has given so many batches."""

    original: ImageSet
    fault: Fault

    def __post_init__(self) -> None:
        self.labels, self.class_names = self.original.labels, self.original.class_names
        self.channels, self.resolution = self.original.channels, self.original.resolution
        self._of_one_class = torch.nonzero(self.labels == _CLASS).flatten()
        self._batches = 0

    def __len__(self) -> int:
        return len(self.original)

    def batch(self, indices: Tensor) -> Tensor:
        """Images at `indices`, or what the fault makes of them."""
        self._batches += 1
        if self._batches <= self.fault.after_batches:
            return self.original.batch(indices)
        if self.fault.kind == "inverted":
            return 255 - self.original.batch(indices)
        if self.fault.kind == "one class":
            return self.original.batch(self._of_one_class[indices % len(self._of_one_class)])
        return self.original.batch(indices % _STUCK)


def main() -> None:
    """`python -m benchmarks.collapse.one NAME FOLDER DATA [OVERRIDE…]`."""
    name, folder, data, *overrides = sys.argv[1:]
    train(RUNS[name], Path(folder), Path(data), overrides)
    measure(Path(folder), Path(data))


def train(run: Run, folder: Path, data: Path, overrides: list[str]) -> None:
    """Trains all stages; a collapse that stops the run ends it."""
    images: Images = _images(run, load_emnist(data))
    held_out = load_emnist(data, train=False)
    for number in range(len(run.stages)):
        own = [*run.overrides(number), *overrides]
        recipe = load_recipe(run.recipe, own)
        if number:  # what a rollback has changed stays, but for what the stage sets
            recipe = read_recipe(folder, [*run.stages[number].overrides, own[-1 - len(overrides)]])
        try:
            launch(
                recipe,
                images,
                folder,
                held_out=held_out,
                resume=number > 0,
                device=torch.device("cpu"),
                command=["benchmarks.collapse.one"],
            )
        except CollapsedError as error:
            sys.stderr.write(f"{error}\n")
            return


def measure(folder: Path, data: Path) -> None:
    """Writes `truth.csv`: the Fréchet distance at every checkpoint. Removes the checkpoints."""
    real, classifier = load_emnist(data), load_classifier(find_classifier(None))
    chosen = torch.randperm(len(real), generator=torch.Generator().manual_seed(1))[:_REAL]
    reference = Gaussian.fit(describe_images(classifier, real, chosen).features)
    paths = sorted((folder / CHECKPOINTS).glob("itr-*.pt"))  # not those that were set aside
    lines = ["itr,fid"]
    for path in paths:
        state = checkpoint.load(path)
        if state["itr"] == 0:
            continue
        sample = describe(classifier, _fresh_samples(state), None)
        fid = frechet_distance(Gaussian.fit(sample.features), reference)
        lines.append(f"{state['itr']},{fid:.3f}")
    write_text_atomically(folder / TRUTH, "\n".join(lines) + "\n")
    for path in (folder / CHECKPOINTS).glob("*.pt"):
        path.unlink()


def _images(run: Run, images: ImageSet) -> Images:
    if run.images is not None:
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(2))
        chosen = chosen[: run.images]
        images = ImageSet(images.images[chosen], images.labels[chosen], images.class_names)
    return images if run.fault is None else FaultyLoader(images, run.fault)


@torch.no_grad()
def _fresh_samples(state: dict[str, Any]) -> Iterator[Tensor]:
    """Batches uint8 [n, 1, 28, 28] of the average generator, with standing statistics."""
    recipe = Recipe.model_validate(state["recipe"])
    subject = Subject(**state["subject"])
    generator, _ = build(recipe.network, subject)
    generator.load_state_dict(state["ema"])
    n_classes = len(subject.class_names) if recipe.alternates else 0

    def inputs(counter: int) -> Inputs:
        z = noise(1, _FRESH + counter, _BATCH, recipe.network.z_dim)
        if not n_classes:
            return (z,)
        return z, one_hot((torch.arange(_BATCH) + counter * _BATCH) % n_classes, n_classes)

    standing_statistics(generator, [inputs(1000 + i) for i in range(8)])
    low, high = pixel_range(generator)
    for counter in range(_SAMPLES // _BATCH):
        images = generator(*inputs(counter))
        levels = ((images - low) * (255.0 / (high - low))).round().clamp(0, 255)
        yield levels.nan_to_num(0.0).to(torch.uint8)


if __name__ == "__main__":
    main()
