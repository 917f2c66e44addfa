"""What /metrics answers: the documented families, in both formats, whatever clients send."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from protos.v1 import ganagerie_pb2 as pb
from tests.conftest import REPOSITORY
from tests.gate import Gate
from tests.server.calls import TIMEOUT_S, Stubs, connect, fetch, metric, refusal, until
from tests.server.keyed_calls import KEY, OTHER, bearer
from tests.server.starting import Starting
from tests.serving import Running, server_in_thread
from tests.toys import write_toy

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
_ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \| (.*?) \|", re.MULTILINE)


@pytest.fixture
def keyed(tmp_path: Path, keys: Path) -> Iterator[Running]:
    """A server with API keys, and with a model that cannot be loaded beside one that can."""
    zoo = tmp_path / "zoo"
    write_toy(zoo, "plain")
    write_toy(zoo, "broken")
    (zoo / "broken" / "generator.onnx").write_bytes(b"no graph")
    settings: dict[str, Any] = {"max_in_flight_per_key": 4, "cache_bytes": 10**6}
    with server_in_thread(zoo, api_keys=keys, **settings) as running:
        yield running


@pytest.fixture
def idle(toy_zoo: Path) -> Iterator[Running]:
    """A server that nobody else calls."""
    with server_in_thread(toy_zoo) as running:
        yield running


def ask(address: str, accept: str) -> tuple[str, str]:
    """Content type and body of /metrics."""
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/metrics", headers={"accept": accept})
        response = connection.getresponse()
        assert response.status == 200
        return response.headers["content-type"], response.read().decode()
    finally:
        connection.close()


def families(running: Running) -> list[Metric]:
    found: Any = parse_openmetrics(ask(running.http, OPENMETRICS)[1])  # type: ignore[no-untyped-call]
    return list(found)


def shape(family: Metric) -> tuple[str, str, frozenset[str]]:
    """Name as in a query, type as Prometheus knows it, and labels."""
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    kind = "gauge" if family.type == "info" else family.type
    labels = {label for sample in family.samples for label in sample.labels} - {"le"}
    return f"{family.name}{suffix}", kind, frozenset(labels)


def test_the_documented_metrics_are_those_that_there_are(keyed: Running) -> None:
    rows = _ROW.findall((REPOSITORY / "docs" / "metrics.md").read_text())
    documented = [
        (name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows
    ]
    with connect(keyed.grpc) as stubs:
        request = pb.GenerateRequest(model="plain")
        stubs.images.Generate(request, timeout=TIMEOUT_S, metadata=bearer(KEY))
    found = families(keyed)
    assert [family.name for family in found if not family.samples] == []
    assert sorted(map(shape, found), key=str) == sorted(documented, key=str)
    assert len(documented) > 20


def test_the_documented_reasons_are_those_that_there_are(idle: Running) -> None:
    text = (REPOSITORY / "docs" / "metrics.md").read_text()
    documented = re.findall(r"^\| `(\w+)` \| [^|]*\|$", text, re.MULTILINE)
    (family,) = [f for f in families(idle) if f.name == "ganagerie_requests_rejected"]
    shown = [s.labels["reason"] for s in family.samples if s.name.endswith("_total")]
    assert sorted(shown) == sorted(documented) != []


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, f"{OPENMETRICS}; charset=utf-8; escaping=underscores"),
        (f"{OPENMETRICS};q=0.5,text/plain;version=0.0.4;q=0.3", None),
        ("application/openmetrics-text; version=one", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text; version=", None),
        ("text/plain; version=1.2.3.4.5;;=;escaping=everything", None),
    ],
)
def test_the_scraper_gets_the_format_that_it_asks_for(
    toy_server: Running, accept: str, content_type: str | None
) -> None:
    told, body = ask(toy_server.http, accept)
    if content_type is not None:
        assert told == content_type
    parse: Any = parse_openmetrics if "openmetrics" in told else parse_text
    parsed = {family.name: family for family in parse(body)}
    assert parsed["ganagerie_request_seconds"].type == "histogram"
    assert {"ganagerie_models", "process_resident_memory_bytes"} <= parsed.keys()


def test_both_formats_tell_the_same(idle: Running) -> None:
    with connect(idle.grpc) as stubs:
        stubs.generate("plain", count=3)

    def samples(found: Any) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        return {
            (sample.name, frozenset(sample.labels.items()))
            for family in found
            for sample in family.samples
            if not sample.name.endswith("_created")
        }

    text, modern = parse_text(ask(idle.http, "")[1]), families(idle)
    assert samples(text) == samples(modern)


def test_names_have_their_units(idle: Running) -> None:
    for family in families(idle):
        assert re.fullmatch(r"(ganagerie|process)_[a-z_]+", family.name)
        assert not re.search(r"_(ms|millis|kb|mb|percent)\b", family.name)
        assert family.documentation.endswith(".")


def test_each_reason_for_a_refusal_is_counted(
    gate: Gate, gated_server: Running, gated: Stubs
) -> None:
    def refused(reason: str) -> float:
        return metric(gated_server.http, "ganagerie_requests_rejected_total", reason=reason)

    gated.refusal("plain", count=0)
    gated.refusal("nobody")
    assert (refused("invalid_request"), refused("model_not_found"), refused("queue_full")) == (
        2,
        2,
        0,
    )
    gate.close()
    running = [
        gated.images.Generate.future(pb.GenerateRequest(model="plain", count=50)) for _ in "ab"
    ]
    gate.wait()
    until(lambda: metric(gated_server.http, "ganagerie_queue_images") == 92, "both wait")
    gated.refusal("plain", count=9)
    assert refused("queue_full") == 2
    assert metric(gated_server.http, "ganagerie_requests_in_flight", method="Generate") == 2
    oldest = metric(gated_server.http, "ganagerie_queue_oldest_seconds", model="plain")
    assert oldest > 0
    until(
        lambda: metric(gated_server.http, "ganagerie_queue_oldest_seconds", model="plain") > oldest,
        "older",
    )
    gate.open()
    for call in running:
        call.result()
    assert metric(gated_server.http, "ganagerie_queue_oldest_seconds") == 0
    until(lambda: metric(gated_server.http, "ganagerie_requests_in_flight") == 0, "none runs")


def test_what_is_refused_before_it_is_read_is_counted(keyed: Running) -> None:
    def refused(reason: str) -> float:
        return metric(keyed.http, "ganagerie_requests_rejected_total", reason=reason)

    with connect(keyed.grpc) as stubs:
        stubs.refusal("plain")
        assert (refused("unauthenticated"), refused("key_busy")) == (2, 0)
        request = pb.GenerateRequest(model="broken")
        refusal(lambda: stubs.images.Generate(request, metadata=bearer(KEY)))
        assert refused("model_unavailable") == 1
    assert metric(keyed.http, "ganagerie_models", state="failed") == 1
    assert metric(keyed.http, "ganagerie_models", state="loaded") == 1
    assert metric(keyed.http, "ganagerie_model_failed", reference="broken@1.0.0") == 1
    provider = "CPUExecutionProvider"
    labels = {"model": "plain", "version": "1.0.0", "provider": provider}
    assert metric(keyed.http, "ganagerie_model_info", **labels) == 1
    assert metric(keyed.http, "ganagerie_model_load_seconds", model="plain") > 0
    for model, outcome in (("plain", "loaded"), ("broken", "failed")):
        loads = {"model": model, "version": "1.0.0"}
        assert metric(keyed.http, "ganagerie_model_loads_total", **loads) == 1
        assert metric(keyed.http, "ganagerie_model_loads_total", outcome=outcome, **loads) == 1


def test_metrics_are_there_while_models_are_being_loaded(
    toy_zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Starting(toy_zoo, monkeypatch)
    try:
        with connect(server.grpc) as stubs:
            stubs.refusal("plain")
        assert metric(server.http, "ganagerie_requests_rejected_total", reason="not_ready") == 2
        assert metric(server.http, "ganagerie_models", state="loaded") == 0
        server.load()
        assert metric(server.http, "ganagerie_models", state="loaded") == 4
    finally:
        server.stop()


def test_use_is_counted_by_the_name_of_a_key(keyed: Running) -> None:
    def count(sample: str, **labels: str) -> float:
        return metric(keyed.http, f"ganagerie_key_{sample}_total", **labels)

    with connect(keyed.grpc) as stubs:
        for key, images in ((KEY, 3), (KEY, 2), (OTHER, 4)):
            request = pb.GenerateRequest(model="plain", count=images)
            list(stubs.images.StreamGenerate(request, timeout=TIMEOUT_S, metadata=bearer(key)))
        request = pb.GenerateRequest(model="plain", count=0)
        refusal(lambda: stubs.images.Generate(request, metadata=bearer(OTHER)))
        refusal(lambda: stubs.images.Generate(request))
        until(lambda: count("requests", key="bob") == 2, "counted")
    assert count("images", key="alice") == 5
    assert count("images", key="bob") == 4
    assert count("requests", key="alice", code="OK") == 2
    assert count("requests", key="bob", code="INVALID_ARGUMENT") == 1
    assert count("requests") == 4
    body = fetch(keyed.http, "/metrics")[2]
    assert KEY not in body
    assert OTHER not in body


def test_failed_loads_are_shown_before_the_first_one(idle: Running) -> None:
    (loads,) = [f for f in families(idle) if f.name == "ganagerie_model_loads"]
    shown = {
        (sample.labels["model"], sample.labels["outcome"]): sample.value
        for sample in loads.samples
        if sample.name == "ganagerie_model_loads_total" and sample.labels["model"] == "plain"
    }
    assert shown == {("plain", "loaded"): 1, ("plain", "failed"): 0}


def test_replies_and_the_images_of_requests_are_measured(idle: Running) -> None:
    raw = pb.IMAGE_FORMAT_RAW
    with connect(idle.grpc) as stubs:
        unary = stubs.images.Generate(pb.GenerateRequest(model="plain", count=5, format=raw))
        request = pb.GenerateRequest(model="plain", count=70, format=raw)
        streamed = sum(message.ByteSize() for message in stubs.images.StreamGenerate(request))
    sent = {"Generate": unary.ByteSize(), "StreamGenerate": streamed}
    for method, size in sent.items():
        assert metric(idle.http, "ganagerie_reply_bytes_total", method=method) == size
    labels = {"model": "plain", "version": "1.10.0"}
    assert metric(idle.http, "ganagerie_request_images_count", **labels) == 2
    assert metric(idle.http, "ganagerie_request_images_sum", **labels) == 75
    assert metric(idle.http, "ganagerie_request_images_bucket", le="16.0", **labels) == 1
