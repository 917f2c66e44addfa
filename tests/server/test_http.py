"""The HTTP door: probes, and metrics that really count."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.v1 import ganagerie_pb2 as pb
from tests.gate import Gate
from tests.server.calls import TIMEOUT_S, Stubs, connect, fetch, metric, refusal, until
from tests.serving import Running, server_in_thread


@pytest.fixture
def counted(toy_zoo: Path) -> Iterator[Running]:
    """A server that nobody has called yet."""
    with server_in_thread(toy_zoo, runners=1, max_batch=8, max_count=40) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "status"), [("/healthz", "alive"), ("/readyz", "ready"), ("/readyz?full=1", "ready")]
)
def test_a_probe_answers(toy_server: Running, path: str, status: str) -> None:
    code, content_type, body = fetch(toy_server.http, path)
    assert (code, content_type) == (200, "application/json")
    assert json.loads(body) == {"status": status}


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/", 404),
        ("GET", "/metrics/../../etc/passwd", 404),
        ("GET", "/%00", 404),
        ("POST", "/healthz", 405),
        ("DELETE", "/metrics", 405),
        ("HEAD", "/readyz", 200),
    ],
)
def test_any_other_question_gets_a_plain_answer(
    toy_server: Running, method: str, path: str, code: int
) -> None:
    status, _, body = fetch(toy_server.http, path, method)
    assert status == code
    assert "Traceback" not in body


def test_metrics_are_prometheus_text(toy_server: Running) -> None:
    code, content_type, body = fetch(toy_server.http, "/metrics")
    assert code == 200
    assert content_type.startswith("text/plain; version=")
    for line in (
        "# TYPE ganagerie_requests_total counter",
        "# TYPE ganagerie_request_seconds histogram",
        "# TYPE ganagerie_images_total counter",
        "# TYPE ganagerie_batch_images histogram",
        "# TYPE ganagerie_batch_seconds histogram",
        "# TYPE ganagerie_queue_images gauge",
    ):
        assert line in body.splitlines()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_all_addresses_of_ipv6_are_those_of_ipv4_too(toy_zoo: Path, host: str) -> None:
    with server_in_thread(toy_zoo, host="::") as running:
        grpc_port, http_port = (
            int(address.rpartition(":")[2]) for address in (running.grpc, running.http)
        )
        with connect(f"[{host}]:{grpc_port}" if ":" in host else f"{host}:{grpc_port}") as stubs:
            assert stubs.generate("plain")
        with socket.create_connection((host, http_port), timeout=TIMEOUT_S) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")


def test_every_call_is_counted_by_method_and_code(counted: Running) -> None:
    with connect(counted.grpc) as stubs:
        for _ in range(3):
            stubs.generate("plain")
        list(stubs.stream("letters", count=5))
        for _ in range(2):
            stubs.refusal("plain", count=0)
        stubs.refusal("nobody")
        stubs.zoo.ListModels(pb.ListModelsRequest())
        refusal(lambda: stubs.zoo.GetModel(pb.GetModelRequest(model="nobody")))
    for method, code, calls in (
        ("Generate", "OK", 3),
        ("Generate", "INVALID_ARGUMENT", 2),
        ("Generate", "NOT_FOUND", 1),
        ("StreamGenerate", "OK", 1),
        ("StreamGenerate", "INVALID_ARGUMENT", 2),
        ("StreamGenerate", "NOT_FOUND", 1),
        ("ListModels", "OK", 1),
        ("GetModel", "OK", 0),
        ("GetModel", "NOT_FOUND", 1),
    ):
        found = metric(counted.http, "ganagerie_requests_total", method=method, code=code)
        assert found == calls, (method, code)
    timed = metric(counted.http, "ganagerie_request_seconds_count", method="Generate")
    assert timed == 6
    assert 0 < metric(counted.http, "ganagerie_request_seconds_sum", method="Generate") < 6 * 20


def test_images_and_batches_are_counted_by_model(counted: Running) -> None:
    with connect(counted.grpc) as stubs:
        stubs.generate("letters", count=20)
        list(stubs.stream("letters", count=4))
        stubs.generate("colour")
    labels = {"model": "letters", "version": "1.0.0"}
    assert metric(counted.http, "ganagerie_images_total", **labels) == 24
    assert metric(counted.http, "ganagerie_images_total", model="colour") == 1
    # One runner and at most 8 a batch: 8, 8, 4 and 4.
    assert metric(counted.http, "ganagerie_batch_images_count", model="letters") == 4
    assert metric(counted.http, "ganagerie_batch_images_sum", model="letters") == 24
    of_four = metric(counted.http, "ganagerie_batch_images_bucket", model="letters", le="4.0")
    assert of_four == 2
    for stage in ("queue", "compute", "encode"):
        labels = {"model": "letters", "stage": stage}
        assert metric(counted.http, "ganagerie_batch_seconds_count", **labels) == 4
        assert metric(counted.http, "ganagerie_batch_seconds_sum", **labels) > 0


def queued(running: Running, model: str) -> float:
    return metric(running.http, "ganagerie_queue_images", model=model)


@pytest.mark.parametrize("model", ["letters", "plain"])
def test_images_that_wait_are_told_by_model(
    gate: Gate, gated_server: Running, gated: Stubs, model: str
) -> None:
    gate.close()
    request = pb.GenerateRequest(model=model, count=30)
    call = gated.images.Generate.future(request)
    gate.wait()
    assert queued(gated_server, model) == 30 - 8  # the first batch stands at the gate
    assert queued(gated_server, "colour") == 0
    gate.open()
    assert len(call.result().images) == 30
    assert queued(gated_server, model) == 0


@pytest.mark.parametrize("method", ["Generate", "StreamGenerate"])
def test_a_call_that_ran_into_its_deadline_is_counted_as_that(
    gate: Gate, gated_server: Running, gated: Stubs, method: str
) -> None:
    gate.close()
    call = getattr(gated.images, method)
    refused = refusal(lambda: list(call(pb.GenerateRequest(model="letters"), timeout=0.25)))
    assert refused.code == grpc.StatusCode.DEADLINE_EXCEEDED.name
    ended = {"method": method, "code": "DEADLINE_EXCEEDED"}
    until(lambda: metric(gated_server.http, "ganagerie_requests_total", **ended) == 1, "counted")
    assert metric(gated_server.http, "ganagerie_requests_total", code="CANCELLED") == 0


@pytest.mark.parametrize("timeout_s", [None, 60])
def test_a_call_whose_caller_left_is_counted_as_cancelled(
    gate: Gate, gated_server: Running, gated: Stubs, timeout_s: float | None
) -> None:
    gate.close()
    request = pb.GenerateRequest(model="letters")
    call: Any = gated.images.Generate.future(request, timeout=timeout_s)
    gate.wait()
    call.cancel()
    ended = {"method": "Generate", "code": "CANCELLED"}
    until(lambda: metric(gated_server.http, "ganagerie_requests_total", **ended) == 1, "counted")
    assert metric(gated_server.http, "ganagerie_requests_total", code="DEADLINE_EXCEEDED") == 0
    assert metric(gated_server.http, "ganagerie_requests_in_flight") == 0
