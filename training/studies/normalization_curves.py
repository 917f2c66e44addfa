"""What the study of normalisation measures: gradient norms by layer and epoch, and accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from pydantic import JsonValue

from training.monitor.readings import rounded
from training.studies.normalised_nets import Head, Norm

Net = Literal["plain", "residual"]

NETS: Final[tuple[Net, ...]] = ("plain", "residual")
NORMS: Final[tuple[Norm, ...]] = ("batch", "instance", "spectral")
_LEAST: Final = 1e-30  # a gradient of zero has no logarithm


@dataclass(frozen=True)
class Fit:
    """An exponential through norms by depth: their logarithm as a line.

    Attributes:
        factor: from one layer to the next, towards the logits.
        r2: share of the logarithms' variance that the line explains, 0 to 1.
    """

    factor: float
    r2: float

    def __str__(self) -> str:
        return f"x{self.factor:.2f} a layer (R² {self.r2:.2f})"


def geometric_mean(values: list[float]) -> float:
    """Of values at least 0."""
    return math.exp(sum(math.log(max(v, _LEAST)) for v in values) / len(values))


def fit(values: list[float]) -> Fit:
    """Of at least three values, in order of depth."""
    logs = np.log(np.maximum(values, _LEAST))
    depth = np.arange(len(logs))
    slope, offset = np.polyfit(depth, logs, 1)
    left, all_of_it = float(np.var(logs - slope * depth - offset)), float(np.var(logs))
    return Fit(math.exp(slope), 1.0 - left / all_of_it if all_of_it > 0 else 0.0)


def main_path(layers: tuple[str, ...]) -> list[int]:
    """Which of the layers lie one behind the other: all but the shortcuts' 1x1 convolutions."""
    return [i for i, name in enumerate(layers) if not name.endswith("shortcut")]


@dataclass
class Curve:
    """One net with one norm over its training.

    Attributes:
        layers: names of the convolutions, from the images to the logits.
        gradients: a list an epoch, measured at its start, and one at the end: a norm a layer.
        weights: Frobenius norms of the trained weights, likewise.
        losses: mean of each epoch.
        accuracy: of test images, after each epoch.
    """

    layers: tuple[str, ...]
    gradients: list[list[float]] = field(default_factory=list)
    weights: list[list[float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)

    def add_gradients(self, gradients: dict[str, float], weights: dict[str, float]) -> None:
        """At the start of an epoch, or at the end of the last one."""
        self.gradients.append([gradients[name] for name in self.layers])
        self.weights.append([weights[name] for name in self.layers])

    def add_outcome(self, loss: float, accuracy: float) -> None:
        """After an epoch."""
        self.losses.append(loss)
        self.accuracy.append(accuracy)

    def by_depth(self, epoch: int) -> list[float]:
        """Norms of the layers that lie one behind the other, at the start of an epoch."""
        return [self.gradients[epoch][i] for i in main_path(self.layers)]

    def level(self, epoch: int) -> float:
        """Geometric mean of the norms of all convolutions at the start of an epoch."""
        return geometric_mean(self.gradients[epoch])

    def scaled_level(self, epoch: int) -> float:
        """The same of gradient norm times weight norm, which the scale of a weight cannot move.

        Where a norm makes a layer's output independent of the length of its weight, its gradient
        goes as one over that length.
        """
        products = zip(self.gradients[epoch], self.weights[epoch], strict=True)
        return geometric_mean([gradient * weight for gradient, weight in products])

    def growth(self) -> float:
        """The level at the end over that at the start."""
        return self.level(-1) / max(self.level(0), _LEAST)

    def to_json(self) -> dict[str, JsonValue]:
        """Everything, with six digits."""
        found: dict[str, JsonValue] = rounded(
            {
                "layers": list(self.layers),
                "gradient_norms": self.gradients,
                "weight_norms": self.weights,
                "losses": self.losses,
                "accuracy": self.accuracy,
            }
        )
        return found


@dataclass(frozen=True)
class Start:
    """Gradient norms of the residual net before any training.

    Attributes:
        norm: of its convolutions.
        head: whether its last norm is followed by ReLU before the mean over places.
        gradients: by layer, from the images to the logits.
    """

    norm: Norm
    head: Head
    gradients: dict[str, float]

    @property
    def level(self) -> float:
        """Their geometric mean."""
        return geometric_mean(list(self.gradients.values()))

    def to_json(self) -> dict[str, JsonValue]:
        """Everything, with six digits."""
        found: dict[str, JsonValue] = rounded(
            {"norm": self.norm, "head": self.head, "gradient_norms": self.gradients}
        )
        return found
