"""`ganagerie train --metrics-port`: what Prometheus finds there, and ports that cannot be had."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import REPOSITORY
from tests.training.conftest import Cli, sets
from training.errors import RunError
from training.monitor.exporter import TrainingGauges
from training.monitor.verdict import Health, Verdict
from training.runlog import RunLog

Found = dict[tuple[str, tuple[tuple[str, str], ...]], float]
PREFIX = "ganagerie_training_"


def scrape(port: int) -> Found:
    """Values by name, without the prefix, and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.usefixtures("few_images")
def test_gauges_while_a_run_trains(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    port, found = free_port(), list[Found]()
    write = RunLog.metrics

    def scraped(self: RunLog, record: dict[str, Any]) -> None:
        write(self, record)
        found.append(scrape(port))

    monkeypatch.setattr(RunLog, "metrics", scraped)
    options = sets("max_itr=6", "monitor.every=2", "monitor.look_every=4", "monitor.samples=64")
    finished = cli("train", "dcgan-emnist", "--data", "d", "--metrics-port", str(port), *options)
    assert finished.code == 0, finished.err
    assert f"metrics on http://127.0.0.1:{port}/metrics\n" in finished.err
    assert len(found) == 6
    first, last = found[0], found[-1]
    assert (first["iteration", ()], last["iteration", ()]) == (1, 6)
    assert last["images_seen", ()] == 96
    assert last["images_per_second", ()] > 0
    for network in ("D", "G"):
        assert ("loss", (("network", network),)) in first
        layers = {dict(labels)["layer"] for name, labels in last if name == "sigma0"}
        assert "linears.0" in layers
        assert not [name for name, _ in first if name == "sigma0"]  # before the first tick
    assert last["sigma0", (("layer", "linears.0"), ("network", "G"))] > 0
    assert ("logit", (("images", "fake"),)) in last
    assert last["proxy_fid", ()] > 0
    assert first["proxy_fid", ()] != first["proxy_fid", ()]  # NaN: nobody has looked
    assert last["proxy_fid_real", ()] > 0
    assert last["diversity", (("kind", "all"),)] > 0
    assert 0 <= last["accuracy", (("images", "train"),)] <= 1
    assert last["monitor_seconds", ()] > 0
    healths = {dict(labels)["health"]: v for (n, labels), v in last.items() if n == "verdict"}
    assert healths == {health.value: float(health is Health.healthy) for health in Health}
    with pytest.raises(urllib.error.URLError):
        scrape(port)


def test_documentation_has_every_name() -> None:
    with TrainingGauges(0) as gauges:
        gauges.spectra({"itr": 2, "G": {"a": [None]}, "monitor_s": 0.1}, Verdict(2))
        gauges.metrics(
            {
                "itr": 3,
                "images_seen": 30,
                "images_per_s": 5.0,
                "loss": {"d": 1.0},
                "logits": {"real": None},
            }
        )
        gauges.spectra(
            {"itr": 4, "diversity": {"all": 1}, "accuracy": {"fake": 1}, "monitor_s": 0.1},
            Verdict(4, Health.collapsed),
        )
        found = scrape(gauges.port)
    assert found["verdict", (("health", "collapsed"),)] == 1
    assert found["verdict", (("health", "healthy"),)] == 0
    sigma0 = found["sigma0", (("layer", "a"), ("network", "G"))]
    assert sigma0 != sigma0  # NaN
    page = (REPOSITORY / "docs" / "monitor.md").read_text(encoding="utf-8")
    documented = set(re.findall(rf"`{PREFIX}(\w+)(?:{{[^`]*}})?`", page))
    assert documented == {name for name, _ in found}


@pytest.mark.usefixtures("few_images")
def test_port_in_use_is_said_before_training_begins(cli: Cli, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = ("--out", "run", "--metrics-port", str(port), *sets("max_itr=1"))
        finished = cli("train", "dcgan-emnist", "--data", "d", *options)
    assert finished.code == 2
    assert finished.err.splitlines()[-1] == (
        f"error: --metrics-port {port}: cannot listen on 127.0.0.1:{port}: Address already in "
        "use; name another port, or 0 for any free one"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("few_images")
def test_another_address(cli: Cli) -> None:
    options = ("--out", "run", "--metrics-port", "0", "--metrics-host", "127.0.0.2")
    finished = cli("train", "dcgan-emnist", "--data", "d", *options, *sets("max_itr=1"))
    assert finished.code == 0
    assert re.search(r"^metrics on http://127\.0\.0\.2:[1-9]\d*/metrics$", finished.err, re.M)


def test_an_address_that_is_none_of_this_machine() -> None:
    host = "192.0.2.1"  # reserved for examples
    with pytest.raises(RunError) as caught, TrainingGauges(0, host):
        pass
    assert str(caught.value) == (
        f"--metrics-port 0: cannot listen on {host}:0: Cannot assign requested address; "
        "name another port, or 0 for any free one"
    )


@pytest.mark.usefixtures("few_images")
@pytest.mark.parametrize(("port", "code"), [("-1", 2), ("0", 0), ("65536", 2)])
def test_limits_of_the_port(cli: Cli, port: str, code: int) -> None:
    options = ("--out", "run", "--metrics-port", port, *sets("max_itr=1"))
    finished = cli("train", "dcgan-emnist", "--data", "d", *options)
    assert finished.code == code
    if code == 0:
        assert re.search(r"^metrics on http://127\.0\.0\.1:[1-9]\d*/metrics$", finished.err, re.M)
    else:
        assert "--metrics-port" in finished.err


@pytest.mark.usefixtures("few_images")
def test_off_unless_asked_for(cli: Cli) -> None:
    finished = cli("train", "dcgan-emnist", "--data", "d", "--out", "run", *sets("max_itr=1"))
    assert finished.code == 0
    assert "metrics on" not in finished.err


def test_a_classifier_has_no_gauges(cli: Cli) -> None:
    refused = cli("train", "classifier-emnist", "--metrics-port", "0")
    assert (refused.code, refused.err) == (
        2,
        "error: --metrics-port: a classifier has no gauges; leave it out\n",
    )
