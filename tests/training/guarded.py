"""Runs under guard: what they leave in their folder, and ways to make them collapse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import synthetic
from training.config import Recipe
from training.launch import Outcome, launch
from training.steps import Draw, SimultaneousStep

CPU = torch.device("cpu")
EVERY_TICK = ("monitor.every=1", "monitor.look_every=5", "checkpoint_every=5")


def run(folder: Path, recipe: Recipe, *, resume: bool = False) -> Outcome:
    return launch(recipe, synthetic(64), folder, resume=resume, device=CPU, command=[])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("*"))


def events(folder: Path) -> list[dict[str, Any]]:
    path = folder / "events.jsonl"
    return lines(path) if path.exists() else []


def diverge_above(monkeypatch: pytest.MonkeyPatch, itr: int, g_lr: float) -> None:
    """From an iteration on, weights are not finite while the rate of G is above a bound."""
    step = SimultaneousStep.__call__

    def stepped(self: SimultaneousStep, draw: Draw) -> dict[str, torch.Tensor]:
        outcome = step(self, draw)
        optimizer = self._players.g_optimizer
        if draw.itr + 1 >= itr and optimizer.param_groups[0]["lr"] > g_lr:
            next(self._players.generator.parameters()).data.fill_(float("nan"))
            outcome["loss_g"] = torch.tensor(float("nan"))
        return outcome

    monkeypatch.setattr(SimultaneousStep, "__call__", stepped)
