"""Study: gradients of every convolution under batch, instance and spectral norm."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from training.data import load_dataset
from training.errors import DatasetError
from training.gradient_norms import mean_gradient_norms
from training.studies.labelled import Labelled, labelled
from training.studies.normalised_nets import (
    Head,
    Norm,
    PlainNet,
    ResidualNet,
    convolutions,
)
from training.studies.normalization_claims import claims, words
from training.studies.normalization_curves import NETS, NORMS, Curve, Net, Start
from training.studies.normalization_figures import draw
from training.studies.study import Findings, Setting, Study

_SIDE = 32  # pixels
_DECAYS = (0.5, 0.8)  # shares of the epochs, after each of which the rate is a tenth
_PROBE = "residual, instance norm, no ReLU before the mean"

Positive = Annotated[int, Field(gt=0)]


class Sizes(BaseModel):
    """The original sizes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: Positive = Field(64, description="channels of the first layers; later 2 and 4 times")
    epochs: Annotated[int, Field(gt=1)] = 100
    images: Annotated[int, Field(ge=128)] | None = Field(None, description="None: all")
    test_images: Annotated[int, Field(ge=128)] | None = Field(None, description="for accuracy")
    gradient_images: Annotated[int, Field(ge=128)] | None = Field(
        None, description="of the test images, for gradient norms"
    )
    probe_epochs: Positive = Field(3, description="of the residual net without its last ReLU")
    batch_size: Annotated[int, Field(gt=1, le=128)] = 128
    lr: float = Field(0.1, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    residual_weight_decay: float = Field(1e-4, ge=0)
    seed: int = Field(1, ge=0)


_REDUCED = {
    "width": 8,
    "epochs": 16,
    "images": 8000,
    "test_images": 2000,
    "gradient_images": 1024,
}
_QUICK = {
    "width": 4,
    "epochs": 3,
    "images": 1024,
    "test_images": 512,
    "gradient_images": 256,
    "probe_epochs": 2,
}


def run(setting: Setting) -> Findings:
    """Trains each net with each norm, and measures gradients at the start of each epoch."""
    sizes = setting.sizes(Sizes, reduced=_REDUCED, quick=_QUICK)
    train, test = _data(setting, sizes)
    curves: dict[tuple[Net, Norm], Curve] = {}
    for net in NETS:
        for norm in NORMS:
            network = _build(net, norm, train, sizes)
            curves[net, norm] = _train(
                setting, sizes, network, train, test, f"{net}, {norm} norm", sizes.epochs
            )
            setting.say(
                f"{net}, {norm} norm: accuracy {curves[net, norm].accuracy[-1]:.3f} after "
                f"{sizes.epochs} epochs"
            )
    starts = [
        Start(norm, head, _norms(_build("residual", norm, train, sizes, head), test, sizes))
        for norm in NORMS
        for head in ("norm-relu", "norm")
    ]
    probe = _train(
        setting,
        sizes,
        _build("residual", "instance", train, sizes, "norm"),
        train,
        test,
        _PROBE,
        min(sizes.probe_epochs, sizes.epochs),
    )
    chance = 1.0 / train.n_classes
    return Findings(
        study=STUDY.name,
        quick=setting.quick,
        settings=sizes.model_dump(mode="json") | {"images_used": len(train)},
        numbers={
            "curves": {f"{net}, {norm}": it.to_json() for (net, norm), it in curves.items()},
            "at_the_start": [start.to_json() for start in starts],
            "no_last_relu": probe.to_json(),
            "chance": chance,
        },
        claims=claims(curves, starts, probe, chance),
        figures=draw(setting, curves, starts),
        words=words(curves, starts, probe),
    )


def _data(setting: Setting, sizes: Sizes) -> tuple[Labelled, Labelled]:
    train, test = (
        load_dataset(
            "cifar10", setting.data, resolution=_SIDE, train=part, download=setting.download
        )
        for part in (True, False)
    )
    if not train.class_names or train.class_names != test.class_names:
        raise DatasetError(
            f"{setting.data}: the study needs images in classes, the same ones in both parts"
        )
    most = max(sizes.test_images or len(test), sizes.gradient_images or len(test))
    return (
        labelled(train, sizes.images, sizes.seed, setting.device),
        labelled(test, most, sizes.seed, setting.device),
    )


def _build(
    net: Net, norm: Norm, data: Labelled, sizes: Sizes, head: Head = "norm-relu"
) -> nn.Module:
    torch.manual_seed(sizes.seed)
    channels = data.images.shape[1]
    network: nn.Module
    if net == "plain":
        network = PlainNet(norm, data.n_classes, sizes.width, channels)
    else:
        network = ResidualNet(norm, data.n_classes, sizes.width, channels, head)
    network.to(data.images.device)
    if norm != "instance":  # torch computes instance norm in the plain layout
        network.to(memory_format=torch.channels_last)
    return network


def _norms(network: nn.Module, test: Labelled, sizes: Sizes) -> dict[str, float]:
    """Of every convolution, from the images to the logits."""
    part = test.first(sizes.gradient_images)
    found = mean_gradient_norms(network, part.batches(sizes.batch_size))
    return {name: found[name] for name in convolutions(network)}


def _train(
    setting: Setting,
    sizes: Sizes,
    network: nn.Module,
    train: Labelled,
    test: Labelled,
    description: str,
    epochs: int,
) -> Curve:
    """One net, with the rate of each epoch; ends early where the loss is no longer finite."""
    decay = sizes.residual_weight_decay if isinstance(network, ResidualNet) else 0.0
    sgd = torch.optim.SGD(
        network.parameters(), sizes.lr, momentum=sizes.momentum, weight_decay=decay
    )
    curve = Curve(tuple(convolutions(network)))
    judged = test.first(sizes.test_images)
    for epoch in setting.track(range(epochs), description):
        curve.add_gradients(_norms(network, test, sizes), _weights(network))
        passed = sum(epoch >= share * epochs for share in _DECAYS)
        for group in sgd.param_groups:
            group["lr"] = sizes.lr * 0.1**passed
        loss = _epoch(setting, network, sgd, train, sizes, epoch)
        curve.add_outcome(loss, judged.accuracy(network))
        if not math.isfinite(loss):
            setting.say(f"{description}: the loss is {loss} in epoch {epoch + 1}; ended there")
            break
    else:
        curve.add_gradients(_norms(network, test, sizes), _weights(network))
    return curve


def _epoch(
    setting: Setting,
    network: nn.Module,
    sgd: torch.optim.SGD,
    train: Labelled,
    sizes: Sizes,
    epoch: int,
) -> float:
    """Mean loss of an epoch."""
    network.train()
    total = torch.zeros((), device=train.images.device)
    count = len(train) // sizes.batch_size
    batches = train.batches(sizes.batch_size, sizes.seed * 1_000_003 + epoch)
    for images, labels in setting.track(batches, f"epoch {epoch + 1}", count):
        loss = F.cross_entropy(network(images), labels)
        sgd.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        sgd.step()
        total += loss.detach()
    return float(total.item()) / count


def _weights(network: nn.Module) -> dict[str, float]:
    """Frobenius norm of every convolution's trained weight."""
    found = {}
    for name, layer in convolutions(network).items():
        (weight,) = (p for p in layer.parameters() if p.ndim > 1)
        found[name] = float(weight.detach().norm().item())
    return found


STUDY = Study(
    name="normalization-gradients",
    title="Gradients of every layer under batch, instance and spectral norm",
    question=(
        "How large are the gradients of the convolutions of a plain and of a residual net at the "
        "start of each epoch, if their convolutions have batch, instance or spectral norm?"
    ),
    source=(
        "The experiment that this repeats trains both nets on CIFAR-10 for 100 epochs in batches "
        "of 128, SGD at 0.1 with momentum 0.9, the rate a tenth after 50 and after 80 epochs, "
        "weight decay 1e-4 for the residual net. Batch norm: Ioffe and Szegedy 2015; instance "
        "norm: Ulyanov et al. 2016; spectral norm: Miyato et al. 2018."
    ),
    run=run,
)
