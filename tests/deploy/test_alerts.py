"""Alerts fire when they should, and not a little below, as Prometheus' own tool tells it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY

RULES = REPOSITORY / "deploy" / "prometheus" / "alerts.yml"
MINUTES = 30
Series = dict[str, str]
"""Values at each minute, in promtool's notation, by series."""

_MODEL = 'instance="a", model="m", version="1"'
_JOB = 'job="ganagerie", instance="a"'


def _requests(code: str, values: str) -> Series:
    return {f'ganagerie_requests_total{{instance="a", code="{code}"}}': values}


def _rejected(reason: str, values: str) -> Series:
    return {f'ganagerie_requests_rejected_total{{instance="a", reason="{reason}"}}': values}


def _loads(outcome: str, values: str) -> Series:
    name = f'ganagerie_model_loads_total{{{_MODEL}, outcome="{outcome}"}}'
    return {name: values}


def _waiting(images: str, computed: str) -> Series:
    return {
        f"ganagerie_queue_images{{{_MODEL}}}": images,
        f"ganagerie_images_total{{{_MODEL}}}": computed,
    }


def _files(used: str) -> Series:
    return {f"process_open_fds{{{_JOB}}}": used, f"process_max_fds{{{_JOB}}}": "1000x30"}


# What raises each alert at the end of half an hour, and what is close to it and does not.
ALERTS: dict[str, tuple[Series, Series]] = {
    "GanagerieDown": ({f"up{{{_JOB}}}": "1x28 0x2"}, {f"up{{{_JOB}}}": "1x20 0 1x10"}),
    "GanagerieInternalErrors": (
        _requests("INTERNAL", "0+1x30"),
        {**_requests("INTERNAL", "3x30"), **_requests("CANCELLED", "0+9x30")},
    ),
    "GanagerieModelFailed": (
        {'ganagerie_models{instance="a", state="failed"}': "0x25 1x5"},
        {'ganagerie_models{instance="a", state="unloaded"}': "1x30"},
    ),
    "GanagerieRefuses": (
        {**_requests("OK", "0+980x30"), **_requests("RESOURCE_EXHAUSTED", "0+20x30")},
        {**_requests("OK", "0+995x30"), **_requests("RESOURCE_EXHAUSTED", "0+5x30")},
    ),
    "GanagerieLoadFailed": (_loads("failed", "0x25 1x5"), _loads("loaded", "0x25 1x5")),
    "GanagerieStuck": (_waiting("300x30", "0+60x20 1200x10"), _waiting("300x30", "0+1x30")),
    "GanagerieSlow": (
        {f"ganagerie_queue_oldest_seconds{{{_MODEL}}}": "5.1x30"},
        {f"ganagerie_queue_oldest_seconds{{{_MODEL}}}": "4.9x30"},
    ),
    "GanagerieRestarts": (
        {f"process_start_time_seconds{{{_JOB}}}": "1x10 2x5 3x5 4x10"},
        {f"process_start_time_seconds{{{_JOB}}}": "1x10 2x5 3x15"},
    ),
    "GanagerieCalledTooEarly": (
        _rejected("not_ready", "0+7x30"),
        {**_rejected("not_ready", "0+5x30"), **_rejected("queue_full", "0+60x30")},
    ),
    "GanagerieKeysGuessed": (
        _rejected("unauthenticated", "0+61x30"),
        {**_rejected("unauthenticated", "0+59x30"), **_rejected("key_busy", "0+99x30")},
    ),
    "GanagerieFilesRunOut": (_files("801x30"), _files("800x30")),
    "GanagerieTrainingCollapsed": (
        {'ganagerie_training_verdict{instance="a", health="collapsed"}': "1x30"},
        {'ganagerie_training_verdict{instance="a", health="watch"}': "1x30"},
    ),
}


# What raises them as well: a model that is stuck in its first batch has counted no image yet.
ALSO: dict[str, Series] = {
    "GanagerieStuck": {f"ganagerie_queue_images{{{_MODEL}}}": "300x30"},
}


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _test(name: str, series: Series, *, fires: bool) -> dict[str, Any]:
    firing = f'count(ALERTS{{alertname="{name}", alertstate="firing"}})'
    return {
        "name": f"{name}: {'fires' if fires else 'is quiet'}",
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": f"{MINUTES}m",
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }


def test_every_alert_has_its_two_cases_and_says_what_to_do() -> None:
    rules = _rules()
    assert [rule["alert"] for rule in rules] == [*ALERTS]
    for rule in rules:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "action"}
        assert rule["annotations"]["action"].endswith(".")
        assert "$labels.instance" in rule["annotations"]["summary"]


def test_alerts_fire_and_do_not_fire(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool, of Prometheus, is not on the PATH")
    tests = [
        _test(name, series, fires=fires)
        for name, (raising, quiet) in ALERTS.items()
        for series, fires in ((raising, True), (quiet, False))
    ] + [_test(name, series, fires=True) for name, series in ALSO.items()]
    file = tmp_path / "tests.yml"
    whole = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
