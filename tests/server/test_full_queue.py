"""More callers than the queue has room for, and a server that ends with a full queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from protos.inference.v2 import open_inference_pb2 as oip_pb
from protos.v1 import ganagerie_pb2 as pb
from tests.server.calls import TIMEOUT_S, fetch, refusal, until
from tests.server.held import MAX_QUEUE_IMAGES, METHODS, MODEL, Call, HeldServer, held_server
from tests.server.keyed_calls import KEY, bearer
from tests.server.oip.calls import Oip

EACH = 4  # images a call
FIT = MAX_QUEUE_IMAGES // EACH
OVER = 7
REFUSED = "RESOURCE_EXHAUSTED"


@pytest.fixture
def server(toy_zoo: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldServer]:
    with held_server(toy_zoo, keys, monkeypatch, max_in_flight_per_key=0) as server:
        yield server


def outcome(call: Call) -> list[bytes] | str:
    """A call's images, or the code with which it was refused and told when to come back."""
    try:
        return call.images()
    except grpc.RpcError:
        refused = call.refusal()
        assert refused.retry_s is not None
        assert 0.05 <= refused.retry_s <= 30
        return refused.code


def fill(server: HeldServer, methods: tuple[str, ...], calls: int) -> dict[int, Call]:
    """Calls of `EACH` images by seed, all at once, behind one that holds the runner: seed 0."""
    server.computing.close()
    first = server.call("Generate", count=EACH)
    server.computing.wait()
    others = range(100, 100 * (calls + 1), 100)
    return {0: first} | {
        seed: server.call(methods[seed // 100 % len(methods)], count=EACH, seed=seed)
        for seed in others
    }


@pytest.mark.parametrize("methods", [*((method,) for method in METHODS), METHODS], ids="-".join)
def test_exactly_the_overflow_is_refused_and_the_others_get_their_own_images(
    server: HeldServer, methods: tuple[str, ...]
) -> None:
    calls = fill(server, methods, FIT + OVER)

    def refused() -> float:
        return sum(server.code_count(method, REFUSED) for method in methods)

    until(lambda: refused() == OVER, "the overflow is refused while the others wait")
    assert server.waiting() == MAX_QUEUE_IMAGES
    server.computing.open()
    outcomes = {seed: outcome(call) for seed, call in calls.items()}
    served = {seed: images for seed, images in outcomes.items() if images != REFUSED}
    assert len(served) == 1 + FIT
    for seed, images in served.items():
        assert images == server.call("Generate", count=EACH, seed=seed).images()
    assert refused() == OVER


def test_a_full_queue_refuses_neither_health_checks_nor_questions_nor_other_models(
    server: HeldServer,
) -> None:
    oip = Oip(server.stubs)
    how: dict[str, Any] = {"metadata": bearer(KEY), "timeout": TIMEOUT_S}
    calls = fill(server, METHODS, FIT)
    until(lambda: server.waiting() == MAX_QUEUE_IMAGES, "the queue is full")
    asked: list[Callable[[], Any]] = [
        lambda: server.stubs.health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S),
        lambda: server.stubs.zoo.ListModels(pb.ListModelsRequest(), **how),
        lambda: server.stubs.zoo.GetModel(pb.GetModelRequest(model=MODEL), **how),
        lambda: oip.stub.ServerLive(oip_pb.ServerLiveRequest(), timeout=TIMEOUT_S),
        lambda: oip.stub.ServerReady(oip_pb.ServerReadyRequest(), timeout=TIMEOUT_S),
        lambda: oip.stub.ModelReady(oip_pb.ModelReadyRequest(name=MODEL), **how),
        lambda: oip.stub.ModelMetadata(oip_pb.ModelMetadataRequest(name=MODEL), **how),
        lambda: oip.stub.ModelConfig(oip_pb.ModelConfigRequest(name=MODEL), **how),
        lambda: oip.stub.ModelStatistics(oip_pb.ModelStatisticsRequest(), **how),
        lambda: oip.stub.RepositoryIndex(oip_pb.RepositoryIndexRequest(), **how),
    ]
    answers = [ask() for ask in asked]
    assert answers[0].status == health_pb2.HealthCheckResponse.SERVING
    assert answers[4].ready
    assert answers[5].ready
    assert [fetch(server.running.http, path)[0] for path in ("/healthz", "/readyz")] == [200, 200]
    # Another model has a queue of its own; its image stands at the gate, it is not refused.
    other: Any = server.stubs.images.Generate.future(pb.GenerateRequest(model="colour"), **how)
    server.computing.wait()
    assert not other.done()
    server.computing.open()
    assert len(other.result().images) == 1
    assert all(len(call.images()) == EACH for call in calls.values())


def test_a_server_that_ends_answers_all_that_waits_and_takes_no_more(server: HeldServer) -> None:
    watch: Any = server.stubs.health.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    expected = {
        seed: server.call("Generate", count=EACH, seed=seed).images()
        for seed in range(0, 100 * (FIT + 1), 100)
    }
    calls = fill(server, METHODS, FIT)
    until(lambda: server.waiting() == MAX_QUEUE_IMAGES, "all of them wait")
    ended = server.stop()
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert [fetch(server.running.http, path)[0] for path in ("/healthz", "/readyz")] == [200, 503]
    for method in METHODS:
        assert server.call(method).refusal().code == "UNAVAILABLE"
    assert server.waiting() == MAX_QUEUE_IMAGES
    assert not ended.done()
    server.computing.open()
    assert {seed: call.images() for seed, call in calls.items()} == expected
    ended.result(TIMEOUT_S)
    check = server.stubs.health.Check
    assert refusal(lambda: check(health_pb2.HealthCheckRequest())).code == "UNAVAILABLE"
    with pytest.raises(ConnectionRefusedError):
        fetch(server.running.http, "/healthz")
