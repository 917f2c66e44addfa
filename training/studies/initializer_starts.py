"""The starts that the study of initialisers compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import nn

from training.config import InitializerConfig, LayerInitializer


@dataclass(frozen=True)
class Start:
    """How weights start.

    Attributes:
        name: in figures and results.
        config: of convolutions, and of linear layers where it says so.
        gains: g1 of convolutions and g2 of dense layers; None: not of the grid.
    """

    name: str
    config: InitializerConfig
    gains: tuple[float, float] | None = None


@dataclass
class Ending:
    """How a run went: a figure now and then, and one at its end.

    Attributes:
        losses: after equal parts of the run.
        score: lower is better; not finite where training diverged.
    """

    losses: list[float] = field(default_factory=list)
    score: float = float("inf")


def grid_start(g1: float, g2: float, *, fold: bool = False) -> Start:
    """Glorot-uniform times g1 for convolutions, a truncated normal times g2 for dense layers.

    The normal's standard deviation, before it is cut off, is g2 / √(mean of the fans): Glorot's.
    `fold` approximates its truncation by a remainder.
    """
    dense = LayerInitializer(
        name="truncated-normal-fmod" if fold else "truncated-normal", gain=g2, fan="average"
    )
    name = f"g1 {g1:.3g}, g2 {g2:.3g}" + ", fmod" * fold
    config = InitializerConfig(name="glorot-uniform", gain=g1, linear=dense)
    return Start(name, config, None if fold else (g1, g2))


OTHERS: Final = (
    grid_start(1.0, 1.0, fold=True),
    Start("torch's default", InitializerConfig(name="torch-default")),
    Start("He-uniform", InitializerConfig(name="he-uniform")),
    Start("orthogonal", InitializerConfig(name="orthogonal")),
    Start("N(0, 0.02)", InitializerConfig(name="normal", std=0.02)),
)
"""What the grid is held against."""


def starts_of(gains: Sequence[float]) -> list[Start]:
    """The grid, g1 slowest, then the others."""
    return [*(grid_start(g1, g2) for g1 in gains for g2 in gains), *OTHERS]


def optimizer_of(
    name: str, network: nn.Module, lr: float, betas: tuple[float, float]
) -> torch.optim.Optimizer:
    """RMSprop or Adam, both with the decay of Adam's second moment, `betas[1]`."""
    if name == "RMSprop":
        return torch.optim.RMSprop(network.parameters(), lr, alpha=betas[1])
    return torch.optim.Adam(network.parameters(), lr, betas)


OPTIMIZERS: Final = ("RMSprop", "Adam")
