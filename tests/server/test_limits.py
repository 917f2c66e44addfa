"""The limits of gRPC's own, each at both sides."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from protos.v1 import ganagerie_pb2 as pb
from tests.gate import Gate
from tests.server.calls import TIMEOUT_S, Stubs, metric, refusal, until
from tests.serving import server_in_thread


@contextmanager
def connect(address: str, *options: tuple[str, Any]) -> Iterator[Stubs]:
    """A connection of its own."""
    own = ("grpc.use_local_subchannel_pool", 1)
    with grpc.insecure_channel(address, [own, *options]) as channel:
        yield Stubs(channel)


def of_size(size: int) -> pb.GetModelRequest:
    request = pb.GetModelRequest(model="x" * (size - 3))
    assert request.ByteSize() == size
    return request


def test_a_request_has_so_many_bytes_and_no_more(toy_zoo: Path) -> None:
    server = server_in_thread(toy_zoo, max_request_bytes=2000)
    with server as running, connect(running.grpc) as stubs:
        assert refusal(lambda: stubs.zoo.GetModel(of_size(2000))).code == "NOT_FOUND"
        refused = refusal(lambda: stubs.zoo.GetModel(of_size(2001)))
        assert refused.code == "RESOURCE_EXHAUSTED"
        assert "larger than max (2001 vs. 2000)" in refused.text
        assert stubs.generate("plain")


def test_metadata_has_so_many_bytes_and_no_more(toy_zoo: Path) -> None:
    def ask(stubs: Stubs, size: int) -> Any:
        return stubs.zoo.ListModels(pb.ListModelsRequest(), metadata=(("x-padding", "x" * size),))

    server = server_in_thread(toy_zoo, max_metadata_bytes=4096)
    with server as running, connect(running.grpc) as stubs:
        assert all(ask(stubs, 3500).models for _ in range(20))  # never at random
        refused = refusal(lambda: ask(stubs, 4097))
        assert refused.code == "RESOURCE_EXHAUSTED"
        assert "received metadata size exceeds" in refused.text
        assert stubs.generate("plain")


def test_more_streams_than_a_connection_may_have_wait(gate: Gate, toy_zoo: Path) -> None:
    limits: Any = {"max_streams": 2, "runners": 1, "max_batch": 1}
    server = server_in_thread(toy_zoo, **limits)
    with server as running, connect(running.grpc) as stubs, connect(running.grpc) as others:
        gate.close()
        request = pb.GenerateRequest(model="plain")
        calls = [stubs.images.Generate.future(request, timeout=TIMEOUT_S) for _ in range(2)]
        gate.wait()
        until(lambda: metric(running.http, "ganagerie_queue_images") == 1, "both are there")
        third = refusal(lambda: stubs.zoo.ListModels(pb.ListModelsRequest(), timeout=0.3))
        assert third.code == "DEADLINE_EXCEEDED"
        assert others.zoo.ListModels(pb.ListModelsRequest(), timeout=TIMEOUT_S).models
        waiting = stubs.images.Generate.future(request, timeout=TIMEOUT_S)
        gate.open()
        assert [len(call.result().images) for call in [*calls, waiting]] == [1, 1, 1]


def watch(stubs: Stubs) -> Any:
    watching: Any = stubs.health.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
    return watching


def test_a_connection_of_that_age_is_replaced_and_its_requests_have_the_grace(
    toy_zoo: Path,
) -> None:
    ages = {"max_connection_age_s": 0.3, "max_connection_age_grace_s": 0.7}
    with server_in_thread(toy_zoo, **ages) as running, connect(running.grpc) as stubs:
        started_s = time.monotonic()
        watching = watch(stubs)
        while watching.is_active() and time.monotonic() - started_s < TIMEOUT_S:
            assert stubs.generate("plain")  # on whichever connection there is
        lasted_s = time.monotonic() - started_s
        assert refusal(lambda: next(watching)).code == "UNAVAILABLE"
    assert 0.3 * 0.9 + 0.7 - 0.1 < lasted_s < 5


def test_connections_are_of_any_age_unless_told(toy_zoo: Path) -> None:
    grace = {"max_connection_age_grace_s": 0.0}
    with server_in_thread(toy_zoo, **grace) as running, connect(running.grpc) as stubs:
        watching = watch(stubs)
        time.sleep(0.5)
        assert watching.is_active()


PINGING = [  # each second, which is as often as gRPC's own client does
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.http2.max_pings_without_data", 0),
]


@pytest.mark.parametrize(("min_ping_interval_s", "allowed"), [(0.5, True), (0, True), (5, False)])
def test_who_pings_too_often_is_told_so(
    toy_zoo: Path, min_ping_interval_s: float, allowed: bool
) -> None:
    server = server_in_thread(toy_zoo, min_ping_interval_s=min_ping_interval_s)
    with server as running, connect(running.grpc, *PINGING) as stubs:
        watching = watch(stubs)
        enough = threading.Timer(4.5, watching.cancel)
        enough.start()
        ended = refusal(lambda: next(watching))
        enough.cancel()
        if allowed:
            assert ended.code == "CANCELLED"  # by us
        else:
            assert (ended.code, ended.text) == ("UNAVAILABLE", "Too many pings")
        assert stubs.generate("plain")
