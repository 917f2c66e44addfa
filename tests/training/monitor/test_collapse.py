"""Verdicts on series: made ones, of which the truth is known, and published ones."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.monitor.collapse import Detector
from training.monitor.series import Series
from training.monitor.verdict import Health, Verdict

Records = Iterable[dict[str, Any]]


def verdicts(records: Records) -> list[Verdict]:
    detector = Detector()
    return [detector.observe(record) for record in records]


def healths(records: Records) -> set[Health]:
    return {verdict.health for verdict in verdicts(records)}


def noisy(values: Iterable[float], relative: float = 0.02) -> list[float]:
    rng = np.random.default_rng(0)
    return [float(value * (1.0 + relative * rng.standard_normal())) for value in values]


def of_sigma0(*, explodes: bool, network: str = "G") -> Iterator[dict[str, Any]]:
    """The BigGAN paper's collapse: one layer from 9.7 to 39.6, another one climbs to 88 in health.

    20,000 iterations in 200 ticks, most of the explosion in the last 1,500.
    """
    steady = noisy(np.linspace(40.0, 88.0, 200), 0.003)
    linear = np.concatenate([np.linspace(9.7, 14.0, 185), np.geomspace(14.0, 39.6, 15)])
    if not explodes:
        linear = np.linspace(9.7, 14.0, 200)
    for i, (one, other) in enumerate(zip(noisy(linear, 0.003), steady, strict=True), 1):
        yield {"itr": 100 * i, network: {"linear": [one, 5.0, 4.0], "blocks.0": [other]}}


def test_an_exploding_layer_is_found_by_name_and_a_climbing_one_is_not() -> None:
    found = verdicts(of_sigma0(explodes=True))
    assert {verdict.health for verdict in found if verdict.itr <= 18_500} == {Health.healthy}
    first = next(verdict for verdict in found if verdict.health is Health.suspect)
    assert first.itr <= 19_300
    assert [reason.where for reason in first.reasons] == ["G.linear"]
    assert str(first.reasons[0]).startswith("sigma0 of G.linear has grown 1.")
    last = found[-1]
    assert last.health is Health.collapsed
    assert {reason.where for reason in last.reasons} == {"G.linear"}
    assert last.since is not None
    assert 18_400 <= last.since < first.itr


def test_layers_that_climb_steadily_are_healthy() -> None:
    assert healths(of_sigma0(explodes=False)) == {Health.healthy}


def test_the_discriminators_spectra_never_decide() -> None:
    found = healths(of_sigma0(explodes=True, network="D"))
    assert Health.collapsed not in found


def test_a_spike_that_recovers_is_none() -> None:
    def records() -> Iterator[dict[str, Any]]:
        for i, value in enumerate(noisy(np.linspace(10.0, 12.0, 100), 0.003), 1):
            spike = 4.0 if i in {50, 51} else 1.0
            yield {"itr": i, "G": {"linear": [value * spike]}}

    assert healths(records()) == {Health.healthy}


def of_quality(values: Iterable[float], name: str = "fid") -> Iterator[dict[str, Any]]:
    for i, value in enumerate(values, 1):
        yield {"itr": 1000 * i, name: value}


LEARNS = list(np.geomspace(200.0, 20.0, 30))


@pytest.mark.parametrize(("name", "by_itr"), [("fid", 36_000), ("proxy_fid", 38_000)])
def test_a_quality_that_doubles_and_stays_there(name: str, by_itr: int) -> None:
    rising = [*LEARNS, *np.geomspace(20.0, 150.0, 10), *[150.0] * 10]
    found = verdicts(of_quality(noisy(rising), name))
    assert found[29].health is Health.healthy
    assert found[-1].health is Health.collapsed
    point = next(verdict for verdict in found if verdict.health is Health.collapsed)
    assert 31_000 < point.itr <= by_itr
    assert "times its best" in str(point.reasons[0])


def test_a_quality_that_is_only_noisy() -> None:
    assert healths(of_quality(noisy([*LEARNS, *[20.0] * 60], 0.15))) == {Health.healthy}


def test_one_bad_reading_is_no_collapse() -> None:
    values = [*noisy([*LEARNS, *[20.0] * 5]), 90.0, *noisy([20.0] * 10)]
    assert healths(of_quality(values)) == {Health.healthy}


def test_a_quality_that_drifts_down_for_long_is_decaying() -> None:
    found = verdicts(of_quality(noisy([*LEARNS, *np.linspace(20.0, 24.0, 40)], 0.004)))
    assert found[-1].health is Health.decaying
    assert Health.collapsed not in {verdict.health for verdict in found}
    assert str(found[-1].reasons[0]).startswith("distance to real images has drifted to 1.")


def test_a_run_that_recovers_is_healthy_again() -> None:
    values = [*LEARNS, *[60.0] * 6, *np.geomspace(60.0, 20.0, 8), *[20.0] * 8]
    found = [verdict.health for verdict in verdicts(of_quality(noisy(values)))]
    assert Health.collapsed in found
    assert found[-1] is Health.healthy


def test_variety_that_goes_is_a_collapse() -> None:
    values = [*np.linspace(0.2, 1.0, 20), *[1.0] * 20, *np.geomspace(1.0, 0.1, 10)]
    records = ({"itr": i, "diversity": {"within": v}} for i, v in enumerate(noisy(values), 1))
    found = verdicts(records)
    assert {verdict.health for verdict in found[:40]} == {Health.healthy}
    assert found[-1].health is Health.collapsed
    assert found[-1].reasons[0].signal == "diversity"
    assert "within classes" in str(found[-1].reasons[0])


def test_a_blind_discriminator_makes_a_run_suspect() -> None:
    gaps = [*[0.5] * 40, *np.linspace(0.5, -0.5, 10)]
    records = [
        {"itr": i, "logits": {"real": gap, "fake": 0.0}} for i, gap in enumerate(noisy(gaps), 1)
    ]
    found = verdicts(records)
    assert {verdict.health for verdict in found[:40]} == {Health.healthy}
    assert found[-1].health is Health.suspect
    assert "no longer tells real from fake" in str(found[-1].reasons[0])


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"loss": {"d": None, "g": 1.0}}, "loss of d is NaN or infinite"),
        ({"loss": {"g": math.nan}}, "loss of g is NaN or infinite"),
        ({"nonfinite": {"G": 0.25, "D": 0.0}}, "25.00% of G's numbers are NaN or infinite"),
    ],
)
def test_numbers_that_are_none_are_a_collapse_at_once(record: dict[str, Any], text: str) -> None:
    healthy = [{"itr": i, "loss": {"d": 1.0, "g": 1.0}} for i in range(1, 4)]
    *_, before, last = verdicts([*healthy, {"itr": 4, **record}])
    assert before.health is Health.healthy
    assert last.health is Health.collapsed
    assert text in map(str, last.reasons)
    assert last.since == 3


@pytest.mark.parametrize("record", [{}, {"G": {}}, {"G": {"a": []}}, {"fid": None}, {"x": "y"}])
def test_whatever_is_missing_is_passed_over(record: dict[str, Any]) -> None:
    assert healths({"itr": i, **record} for i in range(50)) == {Health.healthy}


def test_verdicts_go_on_from_a_saved_state() -> None:
    records = list(of_sigma0(explodes=True))
    whole = verdicts(records)
    for cut in (1, 20, 188, 195):
        first = Detector()
        for record in records[:cut]:
            first.observe(record)
        state = json.loads(json.dumps(first.state_dict()))  # plain values, nothing else
        second = Detector()
        second.load_state_dict(state)
        assert second.verdict == whole[cut - 1]
        assert [second.observe(record) for record in records[cut:]] == whole[cut:]


def test_the_state_of_a_long_run_stays_small() -> None:
    detector = Detector()
    for i in range(1, 3000):
        detector.observe({"itr": i, "fid": 10.0 + i % 7, "G": {"a": [1.0 + i % 5]}})
    assert len(json.dumps(detector.state_dict())) < 5000


EXPECTED = {"collapsed": "collapsed", "healthy": "healthy", "slow-decay": "decaying"}


def published() -> list[tuple[str, str]]:
    return [
        ("cifar10_acgan", "collapsed"),
        ("cifar10_biggan", "healthy"),
        ("cifar10_dcgan", "collapsed"),
        ("cifar10_ggan", "collapsed"),
        ("cifar10_sagan", "healthy"),
        ("cifar10_sngan", "healthy"),
        ("tiny_imagenet_biggan", "healthy"),
        ("tiny_imagenet_contragan", "slow-decay"),
        ("tiny_imagenet_diffaugganc", "collapsed"),
        ("tiny_imagenet_icrganc", "collapsed"),
    ]


@pytest.mark.parametrize(("name", "label"), published())
def test_published_runs_are_judged_as_they_ended(data_folder: Path, name: str, label: str) -> None:
    path = data_folder / "collapse" / f"{name}.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with path.with_name("labels.csv").open() as file:
        assert dict(csv.reader(file))[name] == label
    found = verdicts(Series(path))
    assert found[-1].health == EXPECTED[label]
    if label != "collapsed":
        assert Health.collapsed not in {verdict.health for verdict in found}
