"""The study of batch norm from the command line, on digits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.conftest import Cli
from training.studies.batch_norm_findings import Trial, claims
from training.studies.digits import load_digits
from training.studies.study import Setting
from zoo.nets.classifier import Classifier


def test_the_study_from_the_command_line(cli: Cli, tmp_path: Path, data_folder: Path) -> None:
    out = tmp_path / "out"
    sizes = ("steps=8", "evaluate_every=4", "images=200", "test_images=100", "rates=[1e-3,0.1]")
    options = [part for size in sizes for part in ("--set", size)]
    command = ("study", "batch-norm", "--quick", "--device", "cpu")
    done = cli(*command, "--data", data_folder, "--out", out, *options)
    assert done.code == 0, done.err
    trials = json.loads((out / "results.json").read_text())["numbers"]["trials"]
    kinds = [(trial["batch_norm"], trial["rate"]) for trial in trials]
    assert kinds == [(True, 1e-3), (True, 0.1), (False, 1e-3), (False, 0.1)]
    for trial in trials:
        assert trial["steps"] == [0, 4, 8]
        assert trial["restored_accuracy"] == trial["accuracy"][-1]
        assert all(0 <= a <= 1 and (100 * a).is_integer() for a in trial["accuracy"])
    assert trials[0]["accuracy"] != trials[0]["accuracy_by_batch_statistics"]
    assert sorted(path.name for path in out.glob("*.png")) == [
        "accuracy-by-rate.png",
        "accuracy-by-step.png",
    ]


def test_digits_are_the_first_ten_classes(data_folder: Path, tmp_path: Path) -> None:
    given = Setting(quick=True, data=data_folder, out=tmp_path)
    digits = load_digits(given, train=False)
    assert digits.class_names == tuple("0123456789")
    assert sorted(set(digits.labels.tolist())) == list(range(10))
    few = load_digits(given, train=False, most=7)
    assert torch.equal(few.images, digits.images[:7])
    assert torch.equal(few.labels, digits.labels[:7])


@pytest.mark.parametrize(("batch_norm", "count"), [(True, 3), (False, 0)])
def test_batch_norm_is_there_or_not(*, batch_norm: bool, count: int) -> None:
    network = Classifier(10, batch_norm, momentum=0.01)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert [norm.momentum for norm in norms] == [0.01] * count
    biased = [m.bias is not None for m in network.body if isinstance(m, nn.Conv2d | nn.Linear)]
    assert biased == [not batch_norm] * 3
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def trial(*accuracy: float, batch_norm: bool, rate: float, restored: float | None = None) -> Trial:
    made = Trial(batch_norm, rate)
    for step, value in enumerate(accuracy):
        made.add(step, 1.0, value, value)
    made.restored = accuracy[-1] if restored is None else restored
    return made


def test_claims_follow_the_numbers() -> None:
    better = [
        trial(0.1, 0.95, 0.96, batch_norm=True, rate=0.1),
        trial(0.1, 0.93, 0.95, batch_norm=True, rate=0.001),
        trial(0.1, 0.50, 0.10, batch_norm=False, rate=0.1),
        trial(0.1, 0.50, 0.92, batch_norm=False, rate=0.001),
    ]
    assert [claim.agrees for claim in claims(better)] == [True, True, True, True]
    worse = [
        trial(0.1, 0.20, 0.30, batch_norm=True, rate=0.1),
        trial(0.1, 0.80, 0.91, batch_norm=True, rate=0.001, restored=0.9),
        trial(0.1, 0.94, 0.93, batch_norm=False, rate=0.1),
        trial(0.1, 0.92, 0.92, batch_norm=False, rate=0.001),
    ]
    assert [claim.agrees for claim in claims(worse)] == [False, False, False, False]
