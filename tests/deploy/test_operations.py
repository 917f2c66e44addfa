"""docs/operations.md says what is so: limits, alerts, figures, what it asks people to run."""

from __future__ import annotations

import re

import yaml

from server.config import ServeConfig
from tests.conftest import REPOSITORY
from tests.deploy.test_alerts import RULES

TEXT = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
BENCHMARKS = (REPOSITORY / "docs" / "benchmarks.md").read_text(encoding="utf-8")


def _section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_limit_is_there_with_its_default() -> None:
    told = re.findall(r"^\| `(\w+)` \| (\d+) \|", _section("Limits"), re.MULTILINE)
    limits = {
        name: field.default
        for name, field in ServeConfig.model_fields.items()
        if name.startswith(("max_", "min_")) or name.endswith(("_s", "_bytes"))
    }
    assert len(limits) > 15
    assert {name: float(default) for name, default in told} == limits
    assert len(told) == len(limits)


def test_every_alert_is_there_with_its_severity() -> None:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rules = {
        rule["alert"]: rule["labels"]["severity"] for group in groups for rule in group["rules"]
    }
    told = re.findall(r"^\| `(\w+)` \| (\w+) \|", _section("Alerts"), re.MULTILINE)
    assert dict(told) == rules
    assert len(told) == len(rules)


def test_figures_are_those_that_were_measured() -> None:
    recorded = {figure.replace(",", "") for figure in re.findall(r"[\d,.]*\d", BENCHMARKS)}
    sizing = _section("Sizing")
    table = "".join(line for line in sizing.splitlines() if line.startswith("| an "))
    quoted = re.findall(r"\d[\d,]*", table.replace("Zen 5", ""))
    quoted += re.findall(r"([\d.]+)(?: us| to [\d.]+ s| s |% of)", sizing.partition("**Waiting")[0])
    assert len(quoted) > 12
    assert {figure.replace(",", "") for figure in quoted} <= recorded


def test_the_wait_in_a_full_queue_is_its_length_over_the_rate() -> None:
    queue = ServeConfig.model_fields["max_queue_images"].default
    assert f"{queue:,} is 6.6 seconds at\n  2,500 images/s" in TEXT
    assert round(queue / 2500, 1) == 6.6


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert len(links) > 8
    for link in links:
        assert (REPOSITORY / "docs" / link).exists(), link
