"""The chart's values: documented, checked before anything is installed, and all of them arrive."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from scripts import chart_schema
from server.config import ServeConfig
from server.config_file import load_config
from tests.deploy.charts import CHART, DEFAULTS, Document, needs_helm, render, render_one
from tests.ganagerie.test_cli_serve import SETTINGS

PATHS = {"zoo", "tls_cert", "tls_key", "tls_client_ca", "api_keys", "admin_keys"}
MOUNTED: Document = {
    "zoo": {"source": "claim", "claim": {"name": "models"}},
    "tls": {"secret": "tls", "clientCaSecret": "ca"},
    "apiKeys": {"secret": "keys"},
    "admin": {"secret": "admins"},
}


def _leaves(values: Document, prefix: str = "") -> dict[str, Any]:
    """Values by their dotted names; what is given by a person as a whole is one."""
    whole = {"resources", "config"}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value and name not in whole:
            found |= _leaves(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _documented() -> dict[str, str]:
    """Defaults by the value's name, as the README's tables have them."""
    text = (CHART / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \|(.*?)\|", text, re.MULTILINE)
    assert len(rows) == len({name for name, _ in rows})
    return {name: default.strip() for name, default in rows}


def test_every_value_is_documented_and_nothing_else() -> None:
    assert set(_documented()) == set(_leaves(DEFAULTS))


def test_defaults_are_documented_as_they_are() -> None:
    for name, value in _leaves(DEFAULTS).items():
        told = _documented()[name]
        if isinstance(value, bool):
            assert told == f"`{str(value).lower()}`", name
        elif isinstance(value, str | int) and value:
            assert told == f"`{value}`", name
        elif not value:
            assert told == "", name


def test_the_chart_is_of_this_version() -> None:
    from ganagerie.version import __version__

    assert f'appVersion: "{__version__}"' in (CHART / "Chart.yaml").read_text(encoding="utf-8")


def test_the_schema_knows_the_servers_settings() -> None:
    """Else: `python -m scripts.chart_schema`."""
    assert chart_schema.SCHEMA.read_text(encoding="utf-8") == chart_schema.text()
    known = chart_schema.config_schema()["properties"]
    assert set(known) | chart_schema.MADE == set(ServeConfig.model_fields)
    assert not set(known) & chart_schema.MADE


def test_ports_are_the_servers_defaults() -> None:
    for name in ("port", "http_port"):
        assert DEFAULTS["config"][name] == ServeConfig.model_fields[name].default


@needs_helm
def test_every_setting_reaches_the_server(tmp_path: Path) -> None:
    texts: Document = {name: first for name, (first, _) in SETTINGS.items() if name not in PATHS}
    of_a_pod = {"port": 50052, "http_port": 8081}
    made = load_config({**texts, **of_a_pod, "admin": False, "max_in_flight_per_key": 0})
    given = {name: getattr(made, name) for name in texts if name != "admin"}
    given["max_in_flight_per_key"] = 7
    rendered = render_one({**MOUNTED, "config": given})
    written = tomllib.loads(rendered.toml)
    assert set(written) == set(ServeConfig.model_fields)
    file = tmp_path / "serve.toml"
    file.write_text(rendered.toml, encoding="utf-8")
    config = load_config({}, file)
    assert {name: getattr(config, name) for name in given} == given
    assert config.admin is True
    assert {name: str(getattr(config, name)) for name in PATHS} == {
        "zoo": "/zoo",
        "tls_cert": "/etc/ganagerie/tls/tls.crt",
        "tls_key": "/etc/ganagerie/tls/tls.key",
        "tls_client_ca": "/etc/ganagerie/client-ca/ca.crt",
        "api_keys": "/etc/ganagerie/api-keys/keys",
        "admin_keys": "/etc/ganagerie/admin-keys/keys",
    }
    args = rendered.container["args"]
    assert args == [
        "serve",
        "--config",
        "/etc/ganagerie/config/serve.toml",
        "--host",
        given["host"],
    ]


@needs_helm
def test_a_large_number_stays_one(tmp_path: Path) -> None:
    rendered = render_one({"config": {"max_model_bytes": 2**40, "max_queue_bytes": 10**9}})
    file = tmp_path / "serve.toml"
    file.write_text(rendered.toml, encoding="utf-8")
    config = load_config({}, file)
    assert (config.max_model_bytes, config.max_queue_bytes) == (2**40, 10**9)


REFUSED: list[tuple[Document, str]] = [
    ({"config": {"prot": 1}}, "at '/config': additional properties 'prot' not allowed"),
    ({"config": {"max_batch": 0}}, "at '/config/max_batch': minimum: got 0, want 1"),
    ({"config": {"port": 0}}, "at '/config/port': minimum: got 0, want 1"),
    ({"config": {"port": "50051"}}, "at '/config/port': got string, want integer"),
    ({"config": {"host": "127.0.0.1"}}, "at '/config/host': 'not' failed"),
    ({"config": {"http_host": "localhost"}}, "at '/config/http_host': 'not' failed"),
    ({"config": {"port": None}}, "at '/config': missing property 'port'"),
    ({"config": {"zoo": "/models"}}, "at '/config': additional properties 'zoo' not allowed"),
    ({"replica": 3}, "additional properties 'replica' not allowed"),
    ({"terminationMarginSeconds": 4}, "terminationMarginSeconds': minimum: got 4, want 5"),
    ({"zoo": {"source": "s3"}}, "at '/zoo/source': value must be one of 'bundled', 'claim', "),
    ({"config": {"http_port": 50051}}, "config.port and config.http_port are both 50051"),
    ({"tls": {"clientCaSecret": "ca"}}, "tls.clientCaSecret needs tls.secret beside it"),
    ({"admin": {"secret": "a"}}, "admin.secret needs apiKeys.secret beside it"),
    (
        {"config": {"max_in_flight_per_key": 1}},
        "config.max_in_flight_per_key needs apiKeys.secret beside it",
    ),
    ({"zoo": {"source": "claim"}}, "zoo.claim.name must name a PersistentVolumeClaim"),
    ({"zoo": {"source": "image"}}, "zoo.image.reference must name an image"),
    ({"zoo": {"source": "pull"}}, "zoo.pull.urls must have a URL"),
    (
        {"zoo": {"source": "pull", "pull": {"urls": ["http://example.org/a"]}}},
        "at '/zoo/pull/urls/0': 'http://example.org/a' does not match pattern",
    ),
    (
        {"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 2}},
        "autoscaling.maxReplicas is 2, less than autoscaling.minReplicas, 3",
    ),
    (
        {
            "networkPolicy": {"enabled": True},
            "zoo": {"source": "pull", "pull": {"urls": ["s3://a/b"]}},
        },
        "zoo.source is pull: networkPolicy.egress must let it reach DNS and the store",
    ),
    (
        {"networkPolicy": {"enabled": True}, "config": {"traces": "otlp"}},
        "config.traces is otlp: networkPolicy.egress must let it reach DNS and the collector",
    ),
]


@needs_helm
def test_what_cannot_work_is_refused() -> None:
    rendered = render([values for values, _ in REFUSED])
    for (values, text), found in zip(REFUSED, rendered, strict=True):
        assert text in found.refusal, values


@needs_helm
def test_the_margins_are_kept_to_the_second() -> None:
    """Kubernetes kills after this many seconds, whole ones."""
    cases: list[Document] = [
        {},
        {"config": {"shutdown_delay_s": 0, "grace_s": 0}, "terminationMarginSeconds": 5},
        {"config": {"shutdown_delay_s": 2.5, "grace_s": 600.25}},
        {"config": {"shutdown_delay_s": 3600, "grace_s": 3600}},
    ]
    waits = [rendered.pod["terminationGracePeriodSeconds"] for rendered in render(cases)]
    assert waits == [5 + 30 + 10, 5, 613, 7210]


@needs_helm
def test_runners_are_as_many_as_the_pod_has_processors() -> None:
    limited: Document = {"limits": {"cpu": 2}, "requests": {"cpu": 1}}
    cases: list[tuple[Document, Document, str | None]] = [
        (limited, {}, "limits.cpu"),
        ({"requests": {"cpu": "1500m"}}, {}, "requests.cpu"),
        ({"requests": {"cpu": None}}, {}, None),
        (limited, {"runners": 3}, None),  # a variable would win over the file
    ]
    rendered = render([{"resources": of, "config": config} for of, config, _ in cases])
    for (of, _, resource), found in zip(cases, rendered, strict=True):
        env = {each["name"]: each for each in found.container["env"] or []}
        made = env.get("GANAGERIE_RUNNERS", {}).get("valueFrom", {}).get("resourceFieldRef")
        wanted = {"containerName": "ganagerie", "resource": resource, "divisor": "1"}
        assert made == (wanted if resource else None), of


@needs_helm
def test_notes_say_what_is_open() -> None:
    open_, closed = render([{}, MOUNTED])
    assert ("WITHOUT TLS" in open_.notes, "WITHOUT KEYS" in open_.notes) == (True, True)
    assert "WITHOUT" not in closed.notes
    assert "dns:///art-ganagerie-headless.prod.svc:50051 with round_robin" in open_.notes


@needs_helm
def test_names_fit_and_do_not_repeat() -> None:
    long = "a" * 70
    cases: list[Document] = [{}, {"nameOverride": "gan"}, {"fullnameOverride": long}]
    names = [
        sorted(service["metadata"]["name"] for service in rendered.all("Service"))
        for rendered in render(cases)
    ]
    assert names == [
        ["art-ganagerie", "art-ganagerie-headless"],
        ["art-gan", "art-gan-headless"],
        ["a" * 54, "a" * 54 + "-headless"],
    ]
