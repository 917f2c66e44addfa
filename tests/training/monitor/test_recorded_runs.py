"""The detector on recorded runs: those that decided its thresholds, and those that did not."""

from __future__ import annotations

import pytest

from benchmarks.collapse.calibrate import mistakes
from benchmarks.collapse.check import lead_of
from benchmarks.collapse.outcomes import SERIES, Recorded, load, replay
from training.monitor.signs import Thresholds
from training.monitor.verdict import Health

CALIBRATION, CHECK = load(SERIES / "calibration"), load(SERIES / "check")
COLLAPSED = {"collapsed", "diverged"}


# What was disturbed or never learned may be called either.
DECIDED = [run for run in (*CALIBRATION, *CHECK) if run.label in {*COLLAPSED, "healthy"}]


@pytest.mark.parametrize("run", DECIDED, ids=lambda run: run.name)
def test_a_run_is_called_collapsed_if_it_collapsed_and_not_if_it_is_healthy(run: Recorded) -> None:
    said = replay(run.records)
    if run.label in COLLAPSED:
        assert said.collapsed_at is not None
    else:
        assert said.collapsed_at is None
        assert said.last is Health.healthy


def test_there_is_something_to_find_and_something_to_leave_alone() -> None:
    labels = [run.label for run in CHECK]
    assert sum(label in COLLAPSED for label in labels) >= 8
    assert labels.count("healthy") >= 8


def test_half_of_the_collapses_are_found_before_the_distance_has_doubled() -> None:
    leads = [lead_of(run, replay(run.records)) for run in CHECK if run.label in COLLAPSED]
    before = [lead for lead in leads if lead is not None and lead > 0]
    assert len(before) >= len(leads) / 2


def test_calibration_sees_thresholds_that_are_wrong() -> None:
    runs = [(run.name, run.records, run.label) for run in CALIBRATION if run.label != "disturbed"]
    assert mistakes(runs, Thresholds()) == []
    assert mistakes(runs, Thresholds(quality_collapsed=50, quality_weak=50, quality_strong=50))
    assert mistakes(runs, Thresholds(quality_collapsed=1.001, proxy=1.0, noises=0.0))
