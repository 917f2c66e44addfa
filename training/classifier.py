"""Training the classifier in whose features generators are measured; its file.

The file holds tensors and plain values. It is replaced after every epoch, whole or not at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
import yaml
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from training import checkpoint
from training.config import InitializerConfig
from training.data import Images, to_range
from training.draws import BatchOrder
from training.errors import DatasetError, DivergedError, RunError
from training.initializers import initialize
from training.progress import TrainingProgress
from training.runlog import CONFIG, write_text_atomically
from training.stopping import StopRequest
from zoo.errors import one_line
from zoo.nets.classifier import SIDE, Classifier, probabilities

CLASSIFIER = "classifier.pt"
_TASK = "classifier"
_TEST_BATCH = 500


class ClassifierRecipe(BaseModel):
    """One classifier, completely."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    task: Literal["classifier"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = Field(1, ge=0, lt=2**63)
    dataset: Literal["emnist-balanced"] = "emnist-balanced"
    epochs: int = Field(gt=0, description="passes over the training images")
    batch_size: Annotated[int, Field(gt=1)] = 128
    lr: float = Field(2e-3, gt=0, description="highest rate of Adam")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the run in which the rate rises")
    initializer: InitializerConfig = InitializerConfig(name="torch-default")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16: forward and backward under autocast; weights stay fp32"
    )

    def to_yaml(self) -> str:
        """The resolved recipe."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        return text


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier in evaluation mode, with what is known about it.

    Attributes:
        network: on the CPU, without gradients.
        recipe: that it was trained with.
        class_names: in order of index.
        epochs: that were completed.
        test_accuracy: share of the test images that it names rightly.
        test_samples: how many test images there were.
    """

    network: Classifier
    recipe: ClassifierRecipe
    class_names: tuple[str, ...]
    epochs: int
    test_accuracy: float
    test_samples: int

    @property
    def name(self) -> str:
        """As it stands beside figures: that of the recipe."""
        return self.recipe.name

    @torch.no_grad()
    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of images uint8 [N, 1, 28, 28].

        Returns:
            Features float32 [N, 1024], and probabilities float64 [N, n_classes].
        """
        features = self.network.features(to_range(images, (0.0, 1.0)))
        return features, probabilities(self.network.head(features))


def train_classifier(
    recipe: ClassifierRecipe, data: Images, test: Images, out: Path, device: torch.device
) -> TrainedClassifier | None:
    """Trains in `out` until the recipe is done or SIGINT or SIGTERM asks to stop.

    Returns the classifier of the last completed epoch, which is in the file; None if none was.

    Raises:
        DatasetError: images that the network is not made for, or fewer than one batch.
        RunError: `out` cannot be written, or holds a classifier already.
        DivergedError: the loss is not finite; the file is of the epoch before.
    """
    _check_images(data)
    order = BatchOrder(len(data), recipe.batch_size, recipe.seed)
    path = out / CLASSIFIER
    if path.exists():
        raise RunError(f"{path} is there already; name another folder with --out")
    torch.manual_seed(recipe.seed)
    network = Classifier(len(data.class_names))
    torch.manual_seed(recipe.seed)  # torch-default then draws what the constructor has drawn
    initialize(network, recipe.initializer)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form
    adam = torch.optim.Adam(network.parameters(), recipe.lr)
    total = recipe.epochs * order.batches_per_epoch
    saved = None
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_text_atomically(out / CONFIG, recipe.to_yaml())
        with (
            StopRequest("stopping (press Ctrl-C again to exit at once)") as stop,
            TrainingProgress(recipe.name, total, 0) as progress,
        ):
            for itr in range(total):
                for group in adam.param_groups:
                    group["lr"] = learning_rate(recipe, itr, total)
                loss = _update(network, adam, recipe, data, order.indices(itr))
                _show(progress, itr + 1, loss.item())
                if stop.requested:
                    break
                if (itr + 1) % order.batches_per_epoch == 0:
                    epochs = (itr + 1) // order.batches_per_epoch
                    saved = _finish_epoch(network, recipe, epochs, test, path)
                    progress.say(f"epoch {epochs}: test accuracy {saved.test_accuracy:.4f}")
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {one_line(error)}") from error
    return saved


def learning_rate(recipe: ClassifierRecipe, itr: int, total: int) -> float:
    """Rises linearly during the warm-up, then falls to zero along a cosine.

    Args:
        recipe: holds the highest rate, and which share of the run is warm-up.
        itr: counted from 0.
        total: iterations of the whole run.
    """
    warm = recipe.warmup * total
    if itr + 1 < warm:
        return recipe.lr * (itr + 1) / warm
    return recipe.lr * 0.5 * (1.0 + math.cos(math.pi * (itr - warm) / (total - warm)))


@torch.no_grad()
def accuracy(network: Classifier, data: Images) -> float:
    """Share of images that `network`, in evaluation mode, names rightly; computed in fp32."""
    device = next(network.parameters()).device
    right = 0
    for part in torch.split(torch.arange(len(data)), _TEST_BATCH):
        logits = network(to_range(data.batch(part), (0.0, 1.0)).to(device))
        right += int((logits.argmax(1).cpu() == data.labels[part]).sum())
    return right / len(data)


def save_classifier(path: Path, classifier: TrainedClassifier) -> None:
    """Replaces the file, whole or not at all."""
    state = {
        "task": _TASK,
        "recipe": classifier.recipe.model_dump(mode="json"),
        "class_names": list(classifier.class_names),
        "epochs": classifier.epochs,
        "test": {"accuracy": classifier.test_accuracy, "samples": classifier.test_samples},
        "weights": classifier.network.state_dict(),
    }
    checkpoint.write(path, state)


def load_classifier(path: Path) -> TrainedClassifier:
    """Reads a classifier onto the CPU; weights may be stored in half precision.

    Raises:
        RunError: the file is missing, or is not a classifier.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        names = tuple(str(name) for name in state["class_names"])
        with torch.random.fork_rng(devices=[]):  # a run that loads one keeps its random state
            network = Classifier(len(names))
        network.load_state_dict(state["weights"])
        return TrainedClassifier(
            network.requires_grad_(False).eval(),
            ClassifierRecipe.model_validate(state["recipe"]),
            names,
            int(state["epochs"]),
            float(state["test"]["accuracy"]),
            int(state["test"]["samples"]),
        )
    except FileNotFoundError as error:
        raise RunError(f"no classifier {path}: there is no such file") from error
    except Exception as error:  # torch.load documents no set of errors
        raise RunError(f"{path} is not a readable classifier: {one_line(error)}") from error


def _check_images(data: Images) -> None:
    side, channels = data.resolution, data.channels
    if (side, channels) != (SIDE, 1):
        raise DatasetError(
            f"images of {side}x{side}x{channels}: the classifier takes {SIDE}x{SIDE}x1"
        )


def _update(
    network: Classifier,
    adam: torch.optim.Adam,
    recipe: ClassifierRecipe,
    data: Images,
    chosen: Tensor,
) -> Tensor:
    device = next(network.parameters()).device
    network.train()
    images = to_range(data.batch(chosen), (0.0, 1.0)).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        logits = network(images)
    loss = F.cross_entropy(logits, data.labels[chosen].to(device))
    adam.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    adam.step()
    return loss.detach()


def _show(progress: TrainingProgress, itr: int, loss: float) -> None:
    if not math.isfinite(loss):
        raise DivergedError(f"iteration {itr}: loss {loss}; train at a lower rate: --set lr=5e-4")
    progress.advance(itr)
    progress.show(itr, f"loss {loss:.3f}")


def _finish_epoch(
    network: Classifier, recipe: ClassifierRecipe, epochs: int, test: Images, path: Path
) -> TrainedClassifier:
    network.eval()
    measured = accuracy(network, test)
    trained = TrainedClassifier(network, recipe, test.class_names, epochs, measured, len(test))
    save_classifier(path, trained)
    return trained
