"""A two-layer network trained three ways: by hand, by autograd, by nn.Module with torch.optim.

x ─ w1 ─ ReLU ─ w2 ─ prediction, a sum of squared errors, plain gradient descent.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Final

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from training.config import InitializerConfig
from training.initializers import initialize

Positive = Annotated[int, Field(gt=0)]

NORMAL: Final = "N(0, 1)"
OWN: Final = "torch's own"

STARTS: Final = {
    NORMAL: InitializerConfig(name="normal", std=1.0),
    OWN: InitializerConfig(name="torch-default"),
}


class Sizes(BaseModel):
    """Sizes of a run; the defaults are those of PyTorch's examples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    examples: Positive = 64
    inputs: Positive = 1000
    hidden: Positive = 100
    outputs: Positive = 10
    steps: Positive = 500
    lr: float = Field(1e-6, gt=0)
    seed: int = Field(1, ge=0)


Weights = tuple[Tensor, Tensor]
"""w1 [hidden, inputs] and w2 [outputs, hidden]."""

Step = tuple[float, Weights]
"""The loss before an update, and the weights after it."""

Rung = Callable[[Tensor, Tensor, Weights, float], Iterator[Step]]


def by_hand(x: Tensor, y: Tensor, start: Weights, lr: float) -> Iterator[Step]:
    """Gradients written out."""
    w1, w2 = (w.clone() for w in start)
    while True:
        before = x @ w1.T
        hidden = before.clamp(min=0)
        error = hidden @ w2.T - y
        loss = error.square().sum().item()
        back = 2.0 * error
        of_w2 = back.T @ hidden
        of_w1 = (back @ w2 * (before > 0)).T @ x
        w1, w2 = w1 - lr * of_w1, w2 - lr * of_w2
        yield loss, (w1, w2)


def by_autograd(x: Tensor, y: Tensor, start: Weights, lr: float) -> Iterator[Step]:
    """Gradients from autograd, updates written out."""
    w1, w2 = (w.clone().requires_grad_() for w in start)
    while True:
        loss = ((x @ w1.T).clamp(min=0) @ w2.T - y).square().sum()
        of_w1, of_w2 = torch.autograd.grad(loss, (w1, w2))
        with torch.no_grad():
            w1 -= lr * of_w1
            w2 -= lr * of_w2
        yield loss.item(), (w1.detach().clone(), w2.detach().clone())


def by_module(x: Tensor, y: Tensor, start: Weights, lr: float) -> Iterator[Step]:
    """nn.Module, MSELoss and SGD; without biases, which the other rungs do not have."""
    (hidden, inputs), outputs = start[0].shape, len(start[1])
    first, last = nn.Linear(inputs, hidden, bias=False), nn.Linear(hidden, outputs, bias=False)
    network = nn.Sequential(first, nn.ReLU(), last).to(x.dtype)
    with torch.no_grad():
        first.weight.copy_(start[0])
        last.weight.copy_(start[1])
    yield from descend(network, x, y, lr)


def descend(network: nn.Sequential, x: Tensor, y: Tensor, lr: float) -> Iterator[Step]:
    """The third rung from wherever `network` starts."""
    measure, optimizer = nn.MSELoss(reduction="sum"), torch.optim.SGD(network.parameters(), lr)
    weights = [w for name, w in network.named_parameters() if name.endswith("weight")]
    while True:
        loss = measure(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item(), (weights[0].detach().clone(), weights[1].detach().clone())


RUNGS: Final[dict[str, Rung]] = {
    "by hand": by_hand,
    "autograd": by_autograd,
    "nn.Module": by_module,
}


@dataclass(frozen=True)
class Ladder:
    """The data, and where weights start; drawn in float64 and rounded to `dtype`."""

    sizes: Sizes
    dtype: torch.dtype

    def data(self) -> tuple[Tensor, Tensor]:
        """X [examples, inputs] and y [examples, outputs], from N(0, 1)."""
        sizes, generator = self.sizes, torch.Generator().manual_seed(self.sizes.seed)
        shapes = (sizes.examples, sizes.inputs), (sizes.examples, sizes.outputs)
        x, y = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
        return x.to(self.dtype), y.to(self.dtype)

    def network(self, start: str, *, bias: bool) -> nn.Sequential:
        """Drawn by one of `STARTS`."""
        sizes = self.sizes
        network = nn.Sequential(
            nn.Linear(sizes.inputs, sizes.hidden, bias=bias),
            nn.ReLU(),
            nn.Linear(sizes.hidden, sizes.outputs, bias=bias),
        ).double()
        torch.manual_seed(sizes.seed + 1)  # not that of the data, which it would repeat
        initialize(network, STARTS[start])
        return network.to(self.dtype)

    def weights(self, start: str) -> Weights:
        """w1 and w2."""
        w1, w2 = (w.detach() for w in self.network(start, bias=False).parameters())
        return w1, w2

    def climb(self, rung: str, start: str) -> list[Step]:
        """All steps on a rung."""
        steps = RUNGS[rung](*self.data(), self.weights(start), self.sizes.lr)
        return list(itertools.islice(steps, self.sizes.steps))

    def third_as_it_comes(self) -> list[Step]:
        """The third rung with torch's own start, biases included."""
        network = self.network(OWN, bias=True)
        steps = descend(network, *self.data(), self.sizes.lr)
        return list(itertools.islice(steps, self.sizes.steps))


def apart(one: list[Step], other: list[Step]) -> list[float]:
    """After each step: the largest relative difference of the two weights, in Frobenius norm."""
    return [
        max(float((a - b).norm() / a.norm()) for a, b in zip(mine, its, strict=True))
        for (_, mine), (_, its) in zip(one, other, strict=True)
    ]


def expected(sizes: Sizes) -> dict[str, float]:
    """The loss that weights of a start have on average, if ReLU passes half the variance on."""
    predictions = {
        NORMAL: sizes.inputs * sizes.hidden / 2,
        # U(±1/√n) has variance 1 / (3n); with biases, as the third rung comes.
        OWN: (1 + 1 / sizes.inputs) / 18 + 1 / (3 * sizes.hidden),
    }
    n = sizes.examples * sizes.outputs
    return {start: n * (1 + variance) for start, variance in predictions.items()}
