"""Study: a small convolutional net on digits, with and without batch norm, at many rates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from training import checkpoint
from training.data import to_range
from training.studies.batch_norm_findings import Trial, claims, draw, words
from training.studies.digits import DIGITS, load_digits
from training.studies.labelled import Labelled
from training.studies.study import Findings, Setting, Study
from zoo.nets.classifier import Classifier

Rate = Annotated[float, Field(gt=0)]
Positive = Annotated[int, Field(gt=0)]


class Sizes(BaseModel):
    """The original sizes, as far as they are known; steps and batch are the tutorial's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: Positive = 20_000
    batch_size: Annotated[int, Field(gt=1)] = 50
    rates: Annotated[tuple[Rate, ...], Field(min_length=2)] = (
        *(1e-4, 3e-4, 1e-3, 3e-3),
        *(1e-2, 3e-2, 1e-1),
    )
    images: Annotated[int, Field(ge=50)] | None = Field(None, description="None: all")
    test_images: Annotated[int, Field(ge=50)] | None = Field(None, description="None: all")
    evaluate_every: Positive = Field(200, description="steps")
    decay: float = Field(0.99, ge=0, lt=1, description="of the moving averages of statistics")
    seed: int = Field(1, ge=0)


_REDUCED = {"steps": 600, "rates": (1e-4, 1e-3, 1e-2, 3e-2, 1e-1), "evaluate_every": 50}
_QUICK = {
    "steps": 48,
    "rates": (1e-3, 1e-1),
    "images": 2400,
    "test_images": 300,
    "evaluate_every": 12,
    "decay": 0.9,  # at 0.99 the averages would still be where they started
}


def run(setting: Setting) -> Findings:
    """Trains the net at each rate, both ways, and evaluates it with population statistics."""
    sizes = setting.sizes(Sizes, reduced=_REDUCED, quick=_QUICK)
    train, test = (
        _digits(setting, train=True, most=sizes.images),
        _digits(setting, train=False, most=sizes.test_images),
    )
    trials = []
    for batch_norm in (True, False):
        for rate in sorted(sizes.rates):
            trial = _train(setting, sizes, train, test, batch_norm=batch_norm, rate=rate)
            setting.say(f"{trial.name}: accuracy {trial.final:.3f}")
            trials.append(trial)
    return Findings(
        study=STUDY.name,
        quick=setting.quick,
        settings=sizes.model_dump(mode="json")
        | {"images_used": len(train), "test_images_used": len(test)},
        numbers={"trials": [trial.to_json() for trial in trials], "chance": 1 / DIGITS},
        claims=claims(trials),
        figures=draw(setting, trials),
        words=words(trials),
    )


def _digits(setting: Setting, *, train: bool, most: int | None) -> Labelled:
    data = load_digits(setting, train=train, most=most)
    images = to_range(data.images, (0.0, 1.0))
    return Labelled(images.to(setting.device), data.labels.to(setting.device), DIGITS)


def _train(
    setting: Setting,
    sizes: Sizes,
    train: Labelled,
    test: Labelled,
    *,
    batch_norm: bool,
    rate: float,
) -> Trial:
    """One net; ends early where the loss is no longer finite."""
    torch.manual_seed(sizes.seed)
    network = Classifier(DIGITS, batch_norm, 1 - sizes.decay).to(setting.device)
    adam = torch.optim.Adam(network.parameters(), rate)
    trial = Trial(batch_norm, rate)
    batches = _forever(train, sizes)
    _evaluate(trial, 0, None, network, test)
    for step in setting.track(range(1, sizes.steps + 1), trial.name):
        images, labels = next(batches)
        network.train()
        loss = F.cross_entropy(network(images), labels)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        adam.step()
        finite = math.isfinite(loss.item())
        if step % sizes.evaluate_every == 0 or step == sizes.steps or not finite:
            _evaluate(trial, step, loss.item(), network, test)
        if not finite:
            break
    trial.restored = _restored_accuracy(network, sizes, test)
    return trial


def _evaluate(
    trial: Trial, step: int, loss: float | None, network: Classifier, test: Labelled
) -> None:
    accuracy = test.accuracy(network)
    by_batch = test.accuracy(network, batch_statistics=True) if trial.batch_norm else accuracy
    trial.add(step, loss, accuracy, by_batch)


def _forever(train: Labelled, sizes: Sizes) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of one epoch after another."""
    epoch = 0
    while True:
        yield from train.batches(sizes.batch_size, sizes.seed * 1_000_003 + epoch)
        epoch += 1


def _restored_accuracy(network: Classifier, sizes: Sizes, test: Labelled) -> float:
    """Accuracy of a new network that has read what this one saved."""
    batch_norm = any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
    with TemporaryDirectory() as folder:
        path = Path(folder) / "network.pt"
        checkpoint.write(path, network.state_dict())
        with torch.random.fork_rng():
            restored = Classifier(DIGITS, batch_norm, 1 - sizes.decay).to(test.images.device)
        restored.load_state_dict(torch.load(path, weights_only=True))
    return test.accuracy(restored)


STUDY = Study(
    name="batch-norm",
    title="What batch norm does to training at rates from 1e-4 to 1e-1",
    question=(
        "How fast, and how far, does a small convolutional net learn digits with and without batch "
        "norm, at rates of Adam from 1e-4 to 1e-1, evaluated with the moving averages of "
        "statistics?"
    ),
    source=(
        "The net is that of TensorFlow's tutorial for experts, “Deep MNIST”: two 5x5 convolutions "
        "of 32 and 64 channels, each with pooling, and a dense layer of 1024; here without its "
        "dropout, on the digits of EMNIST. Batch norm: Ioffe and Szegedy 2015."
    ),
    run=run,
)
