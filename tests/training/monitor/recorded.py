"""Recorded runs, written by hand: what the views of the monitor read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from training.monitor.verdict import Health, Reason, Verdict

TOTAL = 2000


def tick(itr: int, **more: Any) -> dict[str, Any]:
    """A line of `spectra.jsonl`: two layers a network, of which `G.linear` grows fastest."""
    record: dict[str, Any] = {
        "itr": itr,
        "images_seen": itr * 10,
        "G": {"linear": [1 + itr / 100, 1.0, 0.5], "conv": [2.0, 1.5, None]},
        "D": {"conv": [3 + itr / 1000, 2.0, 1.0], "out": [0.25]},
        "loss": {"d": 1.25, "g": 0.5 + itr / 1000},
        "logits": {"real": 0.75, "fake": -0.75},
        "gradient": {"G": {"linear": 0.1, "conv": 0.2}, "D": {"conv": 0.3, "out": 0.4}},
        "update": {"G": {"linear": 0.01}, "D": {"conv": 0.02}},
        "nonfinite": {"G": 0.0, "D": 0.0},
        "monitor_s": 0.05,
    }
    if itr % 100 == 0:
        record |= {
            "proxy_fid": 50 - itr / 50 if itr <= 500 else 40 + itr / 100,
            "proxy_fid_real": 2.5,
            "diversity": {"within": 0.9, "between": 0.8},
            "accuracy": {"train": 0.75, "held_out": 0.625, "fake": 0.5},
        }
    return record | more


def metric(itr: int) -> dict[str, Any]:
    """A line of `metrics.jsonl`, at 200 images a second."""
    return {
        "itr": itr,
        "images_seen": itr * 10,
        "epoch": itr / 1000,
        "loss": {"d": 1.5, "g": 0.75},
        "logits": {"real": 0.5, "fake": -0.5},
        "images_per_s": 200.0,
    }


def lines(records: Iterable[Mapping[str, Any]]) -> str:
    """As JSON lines."""
    return "".join(json.dumps(record) + "\n" for record in records)


def write_run(folder: Path, last: int = 1000, samples: Iterable[int] = ()) -> Path:
    """A run directory with ticks every 50 iterations up to `last`."""
    folder.mkdir(parents=True, exist_ok=True)
    itrs = range(50, last + 1, 50)
    (folder / "spectra.jsonl").write_text(lines(map(tick, itrs)))
    (folder / "metrics.jsonl").write_text(lines(map(metric, itrs)))
    (folder / "config.yaml").write_text(
        f"name: toy\nseed: 7\nbatch_size: 10\nepochs: 3\nmax_itr: {TOTAL}\n"
        "optimizer: {g_lr: 0.0125, d_lr: 0.025}\n"
    )
    for itr in samples:
        (folder / "samples").mkdir(exist_ok=True)
        Image.new("L", (40, 90), itr % 251).save(folder / "samples" / f"{itr:08d}.png")
    return folder


class Scripted:
    """A detector whose verdicts are written beforehand: health by the iteration it begins at."""

    script: Mapping[int, Health] = {}
    since: int | None = None
    where = "G.linear"

    def __init__(self) -> None:
        self.verdict = Verdict(0)

    def observe(self, record: dict[str, Any]) -> Verdict:
        """The verdict that is in force at the record's iteration."""
        begun = [health for itr, health in self.script.items() if itr <= record["itr"]]
        health = begun[-1] if begun else Health.healthy
        reasons: tuple[Reason, ...] = ()
        if health is not Health.healthy:
            reasons = (Reason("sigma0", self.where, "sigma0 of <linear> [bold]grows[/bold]"),)
        since = self.since if reasons else None
        self.verdict = Verdict(record["itr"], health, reasons, since)
        return self.verdict


def script(
    monkeypatch: pytest.MonkeyPatch, verdicts: Mapping[int, Health], since: int | None = None
) -> None:
    """From now on verdicts are those, whatever is recorded."""
    monkeypatch.setattr(Scripted, "script", verdicts)
    monkeypatch.setattr(Scripted, "since", since)
    monkeypatch.setattr("training.monitor.views.followed.Detector", Scripted)
