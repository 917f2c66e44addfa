"""`grpc.health.v1` through a server's whole life, and reflection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.v1 import ganagerie_pb2 as pb
from tests.server.calls import TIMEOUT_S, Refusal, Stubs, connect, fetch, refusal
from tests.server.starting import Starting
from tests.serving import server_in_thread

SERVICES = ["ganagerie.v1.ImageGeneration", "ganagerie.v1.Zoo", "inference.GRPCInferenceService"]
NAMES = pytest.mark.parametrize("name", ["", *SERVICES])
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def check(stubs: Stubs, name: str) -> Any:
    request = health_pb2.HealthCheckRequest(service=name)
    return stubs.health.Check(request, timeout=TIMEOUT_S).status


def watch(stubs: Stubs, name: str) -> Any:
    request = health_pb2.HealthCheckRequest(service=name)
    return stubs.health.Watch(request, timeout=TIMEOUT_S)


@NAMES
def test_a_server_that_answers_is_healthy(stubs: Stubs, name: str) -> None:
    assert check(stubs, name) == SERVING


@pytest.mark.parametrize("name", ["nobody", "ganagerie.v1", "x" * 100_000])
def test_an_unknown_service_is_not_found(stubs: Stubs, name: str) -> None:
    assert refusal(lambda: check(stubs, name)).code == "NOT_FOUND"


def test_watching_an_unknown_service_says_so_and_goes_on(stubs: Stubs) -> None:
    states = watch(stubs, "nobody")
    assert next(states).status == UNKNOWN
    assert states.is_active()
    states.cancel()


@pytest.fixture
def starting(toy_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starting]:
    server = Starting(toy_zoo, monkeypatch)
    yield server
    server.stop()


@NAMES
def test_a_watcher_hears_of_the_start_and_of_the_end(starting: Starting, name: str) -> None:
    with connect(starting.grpc) as stubs:
        states = watch(stubs, name)
        assert next(states).status == NOT_SERVING == check(stubs, name)
        starting.load()
        assert next(states).status == SERVING == check(stubs, name)
        starting.stop()
        assert next(states).status == NOT_SERVING


def test_a_starting_server_says_so_at_every_door(starting: Starting) -> None:
    starting_up = "the server is starting: models are being loaded"
    unavailable = Refusal("UNAVAILABLE", starting_up)
    with connect(starting.grpc) as stubs:
        assert stubs.refusal("plain") == unavailable
        assert refusal(lambda: stubs.zoo.GetModel(pb.GetModelRequest(model="x"))) == unavailable
        assert fetch(starting.http, "/healthz")[0] == 200
        assert fetch(starting.http, "/readyz")[::2] == (503, '{"status":"not ready"}')
        assert fetch(starting.http, "/metrics")[0] == 200
        starting.load()
        assert len(stubs.generate("plain")) == 1
        assert fetch(starting.http, "/readyz")[::2] == (200, '{"status":"ready"}')


def test_a_starting_server_does_not_list_a_part_of_its_models(starting: Starting) -> None:
    with connect(starting.grpc) as stubs:
        refused = refusal(lambda: stubs.zoo.ListModels(pb.ListModelsRequest()))
        assert refused.code == "UNAVAILABLE"


def test_a_watcher_neither_delays_the_end_nor_is_lost_when_another_leaves(toy_zoo: Path) -> None:
    with ExitStack() as afterwards:
        with server_in_thread(toy_zoo, grace_s=3600) as running:
            stubs = afterwards.enter_context(connect(running.grpc))
            leaving, staying = watch(stubs, ""), watch(stubs, "")
            assert next(leaving).status == next(staying).status == SERVING
            leaving.cancel()
            assert check(stubs, "") == SERVING
        # The server has stopped, an hour before the end of its grace.
        assert [state.status for state in staying] == [NOT_SERVING]


@pytest.fixture
def reflection(stubs: Stubs) -> Any:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(stubs.channel)

    def ask(**question: str) -> Any:
        request = reflection_pb2.ServerReflectionRequest(**question)
        (response,) = stub.ServerReflectionInfo(iter([request]), timeout=TIMEOUT_S)
        return response

    return ask


def test_reflection_lists_every_service(reflection: Any) -> None:
    answer = reflection(list_services="").list_services_response
    assert sorted(service.name for service in answer.service) == [
        "ganagerie.v1.ImageGeneration",
        "ganagerie.v1.Zoo",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
    ]


def test_reflection_describes_the_messages(reflection: Any) -> None:
    answer = reflection(file_containing_symbol="ganagerie.v1.GenerateRequest")
    (content,) = answer.file_descriptor_response.file_descriptor_proto
    described = descriptor_pb2.FileDescriptorProto.FromString(content)
    fields = next(m.field for m in described.message_type if m.name == "GenerateRequest")
    assert [field.name for field in fields] == [
        f.name for f in pb.GenerateRequest.DESCRIPTOR.fields
    ]


def test_reflection_of_an_unknown_symbol_is_an_answer(reflection: Any) -> None:
    answer = reflection(file_containing_symbol="ganagerie.v1.Nothing")
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
