"""What deploy/ and compose.yaml name is there: metrics, labels, files, ports."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from itertools import combinations
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from server.config import ServeConfig
from tests.conftest import REPOSITORY
from tests.server.calls import connect, fetch
from tests.serving import server_in_thread
from tests.toys import write_toy
from training.monitor.exporter import TrainingGauges
from training.monitor.verdict import Verdict

DEPLOY = REPOSITORY / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/ganagerie.json").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))
_DECLARATIVE = {".json", ".yaml", ".yml", ".tpl"}
_METRIC = re.compile(r"\b(?:ganagerie|process)_(?!pb2)\w+")
_SELECTED = re.compile(r"\b((?:ganagerie|process)_\w+)\{([^}]*)\}")
_OF_PROMETHEUS = {"instance", "job"}

Labels = dict[str, set[str]]
"""Labels of each sample that is exported, by the sample's name."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Labels:
    """What a server, one of whose models is broken, and a training run export."""
    zoo = tmp_path_factory.mktemp("zoo")
    write_toy(zoo, "plain")
    card = write_toy(zoo, "broken")
    (zoo / "broken" / card.artifact.file).write_bytes(b"")
    with server_in_thread(zoo) as running, connect(running.grpc) as stubs:
        stubs.generate("plain", count=2)
        texts = [fetch(running.http, "/metrics")[2]]
    with TrainingGauges(0) as gauges:
        gauges.metrics(
            {"itr": 1, "images_seen": 9, "images_per_s": 5.0, "loss": {"d": 1.0}, "logits": {}}
        )
        looked = {"proxy_fid": 1.0, "diversity": {"all": 1.0}, "accuracy": {"fake": 1.0}}
        gauges.spectra({"itr": 2, "G": {"a": [1.0]}, "monitor_s": 0.1, **looked}, Verdict(2))
        texts.append(fetch(f"127.0.0.1:{gauges.port}", "/metrics")[2])
    labels: Labels = defaultdict(set)
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels[sample.name] |= {*sample.labels}
    return labels


def _panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def _expressions() -> list[str]:
    rules = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text(encoding="utf-8"))
    alerts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    shown = [target["expr"] for panel in _panels() for target in panel["targets"]]
    assert len(alerts) > 3
    assert len(shown) > 20
    return alerts + shown


def test_every_metric_that_a_file_names_is_exported(exported: Labels) -> None:
    named = defaultdict(set)
    for file in (path for path in DEPLOY.rglob("*") if path.suffix in _DECLARATIVE):
        for name in _METRIC.findall(file.read_text(encoding="utf-8")):
            named[name].add(file.name)
    assert {"ganagerie_images_total", "ganagerie_training_verdict"} <= named.keys()
    assert {name: files for name, files in named.items() if name not in exported} == {}


def test_every_label_is_one_of_its_metric(exported: Labels) -> None:
    checked = 0
    for text in _expressions():
        names = [name for name in _METRIC.findall(text) if name in exported]
        for name, selector in _SELECTED.findall(text):
            chosen = set(re.findall(r"(\w+)\s*(?:=~|!=|=)", selector))
            assert chosen - _OF_PROMETHEUS <= exported[name], text
            checked += 1
        for grouped in re.findall(r"by \(([^)]*)\)", text):
            wanted = {label.strip() for label in grouped.split(",")} - _OF_PROMETHEUS
            assert all(wanted <= exported[name] for name in names), text
            checked += 1
    assert checked > 20


def test_legends_use_labels_that_their_expression_leaves(exported: Labels) -> None:
    for panel in _panels():
        for target in panel["targets"]:
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
            (name, *_) = _METRIC.findall(target["expr"])
            left = {label.strip() for g in grouped for label in g.split(",")} or exported[name]
            assert shown <= left, target


def test_panels_do_not_overlap_and_explain_themselves() -> None:
    for panel in _panels():
        assert panel["description"].endswith("."), panel["title"]
    cells = {
        panel["id"]: {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        for panel in DASHBOARD["panels"]
        for at in [panel["gridPos"]]
    }
    assert len(cells) == len(DASHBOARD["panels"])
    assert not any(cells[one] & cells[other] for one, other in combinations(cells, 2))
    assert max(x for taken in cells.values() for x, _ in taken) == 23


def test_the_data_source_is_the_one_provisioned() -> None:
    folder = DEPLOY / "grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text())["datasources"]
    used = {panel["datasource"]["uid"] for panel in _panels()}
    used |= {t["datasource"]["uid"] for panel in _panels() for t in panel["targets"]}
    assert used == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((folder / "dashboards/ganagerie.yaml").read_text())["providers"]
    mounts = dict(v.split(":")[:2] for v in COMPOSE["services"]["grafana"]["volumes"])
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]


def test_prometheus_asks_services_at_their_ports() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    targets = {
        target
        for job in config["scrape_configs"]
        for static in job["static_configs"]
        for target in static["targets"]
    }
    (port,) = (
        word.partition("=")[2]
        for word in COMPOSE["services"]["train"]["command"]
        if word.startswith("--metrics-port=")
    )
    http_port = ServeConfig.model_fields["http_port"].default
    assert targets == {f"server:{http_port}", f"train:{port}"}


def test_compose_is_closed_to_other_machines_and_mounts_what_is_there() -> None:
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            there = source in COMPOSE["volumes"] or (REPOSITORY / source).is_dir()
            assert there, f"{name}: {volume}"
        if "build" in service:
            assert service["read_only"] is True
            assert service["tmpfs"] == ["/tmp"]  # noqa: S108  a mount point of the container


def test_compose_waits_longer_than_a_server_drains() -> None:
    fields = ServeConfig.model_fields
    drains_s = fields["shutdown_delay_s"].default + fields["grace_s"].default
    waits = COMPOSE["services"]["server"]["stop_grace_period"]
    assert int(waits.removesuffix("s")) > drains_s
