"""Gradients, updates, and numbers that are none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from training.monitor.readings import Updates, gradient_norms, nonfinite_share, number, rounded


class Two(nn.Module):
    """12 + 4 and 8 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x))
        return out


def test_gradient_norms_are_of_the_last_backward_pass() -> None:
    it = Two()
    assert gradient_norms(it) == {}
    it(torch.ones(5, 3)).sum().backward()
    assert gradient_norms(it) == {
        name: pytest.approx(layer.weight.grad.norm().item())
        for name, layer in (("first", it.first), ("second", it.second))
        if layer.weight.grad is not None
    }
    assert len(gradient_norms(it)) == 2


def test_updates_are_relative_to_the_weight() -> None:
    it, updates = Two(), Updates(Two())
    assert updates.read() == {}
    updates = Updates(it)
    updates.remember()
    with torch.no_grad():
        it.first.weight.mul_(1.25)
    assert updates.read() == {"first": pytest.approx(0.25), "second": 0.0}
    assert updates.read() == {}


def test_updates_of_a_weight_that_is_zero() -> None:
    it = Two()
    it.first.weight.data.zero_()
    updates = Updates(it)
    updates.remember()
    assert updates.read()["first"] == 0.0


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_share_of_numbers_that_are_none(wrong: float) -> None:
    it = Two()
    assert nonfinite_share(it) == 0.0
    it.second.weight.data[0, 0] = wrong
    assert nonfinite_share(it) == 1 / (12 + 4 + 8)


def test_numbers_as_a_log_has_them() -> None:
    assert number(1.23456789) == 1.23457
    assert number(math.nan) is None
    assert number(math.inf) is None
    assert rounded({"a": [1 / 3, 7], "b": {"c": math.nan}, "d": "x"}) == {
        "a": [0.333333, 7],
        "b": {"c": None},
        "d": "x",
    }
