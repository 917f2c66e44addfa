"""Gradients, updates, and numbers that are none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from training.monitor.signals import Updates, gradient_norms, nonfinite_share, number, rounded


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False))


def test_gradient_norms_are_of_the_last_backward_pass() -> None:
    it = network()
    assert gradient_norms(it) == {}
    it(torch.ones(5, 3)).sum().backward()
    assert gradient_norms(it) == {
        name: pytest.approx(it[int(name)].weight.grad.norm().item())  # type: ignore[union-attr]
        for name in ("0", "1")
    }


def test_updates_are_relative_to_the_weight() -> None:
    it, updates = network(), Updates(network())
    assert updates.read() == {}
    updates = Updates(it)
    updates.remember()
    with torch.no_grad():
        it[0].weight.mul_(1.25)  # type: ignore[operator]
    assert updates.read() == {"0": pytest.approx(0.25), "1": 0.0}
    assert updates.read() == {}


def test_updates_of_a_weight_that_is_zero() -> None:
    it = network()
    it[0].weight.data.zero_()  # type: ignore[operator, union-attr]
    updates = Updates(it)
    updates.remember()
    assert updates.read()["0"] == 0.0


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_share_of_numbers_that_are_none(wrong: float) -> None:
    it = network()
    assert nonfinite_share(it) == 0.0
    it[1].weight.data[0, 0] = wrong  # type: ignore[index, union-attr]
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
