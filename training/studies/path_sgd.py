"""Path-SGD against SGD, AdaGrad and Adam, on digits (after Neyshabur et al. 2015).

A rectified network with two hidden layers starts balanced, every weight from N(0, 1 / fan in), or
unbalanced: the same function, after units drawn with replacement, a quarter as often as there are
units, had what goes into them multiplied by 10c and what comes out divided by it, with log-normal
c. Each optimiser gets the rate of a grid whose training loss is lowest after a few epochs. The
network has no biases; the paper's dropout is left out, and Adam was not in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from training.data import ImageSet, to_range
from training.draws import BatchOrder
from training.path_sgd import PathSGD
from training.studies.digits import DIGITS, load_digits
from training.studies.path_sgd_curves import STARTS, Curve, Scores, draw, judge, words
from training.studies.study import Figure, Findings, Setting, Study

_PIXELS: Final = 28 * 28

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]


class Sizes(BaseModel):
    """Sizes of a run; the defaults are the paper's, on the digits of EMNIST."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: Positive = Field(4000, description="units of each of the two hidden layers")
    images: Positive = Field(24_000, description="for training, at most")
    epochs: Positive = 100
    tuning_epochs: Positive = Field(5, description="after which a rate is chosen")
    rates: tuple[Rate, ...] = Field(tuple(10.0**-k for k in range(11)), min_length=1)
    batch_size: Positive = 100
    seed: int = Field(1, ge=0)


Optimizer = Callable[[nn.Module, float], torch.optim.Optimizer]

OPTIMIZERS: Final[dict[str, Optimizer]] = {
    "SGD": lambda network, lr: torch.optim.SGD(network.parameters(), lr),
    "AdaGrad": lambda network, lr: torch.optim.Adagrad(network.parameters(), lr),
    "Adam": lambda network, lr: torch.optim.Adam(network.parameters(), lr),
    "Path-SGD": lambda network, lr: PathSGD(network, (_PIXELS,), lr),
}


def build(hidden: int, start: str, seed: int) -> nn.Sequential:
    """The network from one of `STARTS`; both compute the same function."""
    layers = [
        nn.Linear(n_in, n_out, bias=False)
        for n_in, n_out in ((_PIXELS, hidden), (hidden, hidden), (hidden, DIGITS))
    ]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in layers:
            layer.weight.normal_(0.0, layer.in_features**-0.5, generator=generator)
        if start == "unbalanced":
            for unit in torch.randint(2 * hidden, (hidden // 2,), generator=generator).tolist():
                c = 10.0 * math.exp(float(torch.randn((), generator=generator)))
                which, row = divmod(unit, hidden)
                layers[which].weight[row] *= c
                layers[which + 1].weight[:, row] /= c
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


@dataclass(frozen=True)
class Digits:
    """Images float32 [N, 784] in [0, 1] and their classes."""

    images: Tensor
    labels: Tensor

    @classmethod
    def of(cls, data: ImageSet, device: torch.device) -> Digits:
        """All of a set, on a device."""
        pixels = to_range(data.images, (0.0, 1.0)).flatten(1)
        return cls(pixels.to(device), data.labels.to(device))

    @torch.no_grad()
    def judge(self, network: nn.Module) -> tuple[float, float]:
        """Cross-entropy, and the share that is named wrongly."""
        logits = network(self.images)
        wrong = (logits.argmax(1) != self.labels).double().mean()
        return F.cross_entropy(logits, self.labels).item(), wrong.item()


@dataclass(frozen=True)
class Task:
    """What every run shares."""

    sizes: Sizes
    train: Digits
    test: Digits

    def run(self, optimizer: str, start: str, lr: float) -> Iterator[Scores]:
        """Scores before training and after every epoch, as long as they are finite."""
        sizes = self.sizes
        network = build(sizes.hidden, start, sizes.seed).to(self.train.images.device)
        descent = OPTIMIZERS[optimizer](network, lr)
        order = BatchOrder(len(self.train.labels), sizes.batch_size, sizes.seed)
        batch = 0
        while math.isfinite((scores := self._scores(network)).train_loss):
            yield scores
            for _ in range(order.batches_per_epoch):
                chosen = order.indices(batch).to(self.train.images.device)
                logits = network(self.train.images[chosen])
                loss = F.cross_entropy(logits, self.train.labels[chosen])
                descent.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                descent.step()
                batch += 1

    def _scores(self, network: nn.Module) -> Scores:
        return Scores(*self.train.judge(network), self.test.judge(network)[1])


def run(setting: Setting) -> Findings:
    """Tunes, trains, draws."""
    decades = {"rates": [10.0**-k for k in range(6)]}
    halves = {"rates": [round(10.0 ** (-k / 2), 6) for k in range(11)]}
    sizes = setting.sizes(
        Sizes,
        reduced=halves | {"hidden": 400, "images": 8_000, "epochs": 20, "tuning_epochs": 5},
        quick=decades | {"hidden": 64, "images": 3_000, "epochs": 5, "tuning_epochs": 1},
    )
    train = load_digits(setting, train=True, most=sizes.images)
    test = load_digits(setting, train=False)
    task = Task(sizes, Digits.of(train, setting.device), Digits.of(test, setting.device))
    pairs = [(optimizer, start) for optimizer in OPTIMIZERS for start in STARTS]
    tuning: dict[str, dict[str, float | None]] = {}
    curves = []
    for optimizer, start in setting.track(pairs, "optimisers and starts"):
        tried = {
            lr: _after(task.run(optimizer, start, lr), sizes.tuning_epochs)
            for lr in setting.track(sizes.rates, f"{optimizer}, {start}: rates")
        }
        best = min(tried, key=lambda lr: tried[lr])
        tuning[f"{optimizer}, {start}"] = {f"{lr:g}": loss for lr, loss in tried.items()}
        curve = Curve(optimizer, start, best)
        epochs = range(sizes.epochs + 1)
        training = task.run(optimizer, start, best)
        for _ in setting.track(epochs, f"{optimizer}, {start}: epochs"):
            if (scores := next(training, None)) is None:
                break
            curve.scores.append(scores)
        curves.append(curve)
        last = curve.last
        setting.say(
            f"{optimizer}, {start}: rate {best:g}, loss {last.train_loss:.4f}, "
            f"test error {last.test_error:.2%}"
        )
    figure = Figure(
        name="learning-curves",
        caption="Cross-entropy and error on the training images, and error on the test images, by "
        f"epoch; two hidden layers of {sizes.hidden}, {len(train):,} images, each optimiser at its "
        "best rate. No error at all is drawn at 1e-4. Above from a balanced start, below from an "
        "unbalanced one.",
    )
    draw(setting, figure, curves)
    numbers: dict[str, Any] = {"tuning": tuning, "curves": [asdict(curve) for curve in curves]}
    return Findings(
        study=STUDY.name,
        quick=setting.quick,
        settings=sizes.model_dump(mode="json")
        | {"train_images": len(train), "test_images": len(test), "dtype": "float32"},
        numbers=numbers,
        claims=judge(curves, len(test)),
        figures=(figure,),
        words=words(curves),
    )


def _after(scores: Iterator[Scores], epochs: int) -> float:
    """The training loss after so many epochs, or infinity."""
    for epoch, now in enumerate(scores):
        if epoch == epochs:
            return now.train_loss
    return math.inf


STUDY = Study(
    name="path-sgd",
    title="Path-SGD against SGD, AdaGrad and Adam, from balanced and unbalanced starts",
    question="Does descent that rescaling cannot change learn faster, and does the balance of the "
    "start matter to the others?",
    source="Neyshabur, Salakhutdinov, Srebro 2015, Path-SGD: Path-Normalized Optimization in Deep "
    "Neural Networks: its experiments, on the digits of EMNIST instead of MNIST.",
    run=run,
)
