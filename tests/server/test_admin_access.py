"""Who may administer: off without `--admin`, and then with a key of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos.v1 import admin_pb2 as pb
from protos.v1 import admin_pb2_grpc as pb_grpc
from server.errors import CredentialsError
from tests.certificates import replace
from tests.server.admin_calls import ADMIN_KEY, Admin, Keyed, administered, put
from tests.server.calls import TIMEOUT_S, Refusal, Stubs, connect, metric, refusal, until
from tests.server.keyed_calls import KEY, METHODS, bearer, call
from tests.serving import Running, server_in_thread

MISSING = "no API key; send it as metadata 'authorization': 'Bearer KEY'"
UNKNOWN = "this API key is not known here; it may have been revoked"
ORDINARY = (
    "the API key of alice makes images; the admin service wants a key of the file that "
    "--admin-keys names"
)


def every_change(channel: Any, metadata: Any) -> list[Callable[[], object]]:
    stub: Any = pb_grpc.AdminStub(channel)
    calls = [
        (stub.LoadModel, pb.LoadModelRequest(model="toy")),
        (stub.UnloadModel, pb.UnloadModelRequest(model="toy")),
        (stub.ListStates, pb.ListStatesRequest()),
    ]
    return [
        lambda ask=ask, request=request: ask(request, timeout=TIMEOUT_S, metadata=metadata)  # type: ignore[misc]
        for ask, request in calls
    ]


def services(stubs: Stubs) -> list[str]:
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(stubs.channel)
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = reflection.ServerReflectionInfo(iter([question]), timeout=TIMEOUT_S)
    return [service.name for service in answer.list_services_response.service]


def is_healthy(stubs: Stubs, name: str) -> bool:
    request = health_pb2.HealthCheckRequest(service=name)
    answer: Any = stubs.health.Check(request, timeout=TIMEOUT_S)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_without_admin_there_is_no_such_service(toy_zoo: Path, keys: Path) -> None:
    with server_in_thread(toy_zoo, api_keys=keys) as running, connect(running.grpc) as stubs:
        for change in every_change(stubs.channel, bearer(KEY)):
            assert refusal(change).code == "UNIMPLEMENTED"
        assert "ganagerie.v1.Admin" not in services(stubs)
        assert refusal(lambda: is_healthy(stubs, "ganagerie.v1.Admin")).code == "NOT_FOUND"


@pytest.fixture
def server(zoo: Path) -> Iterator[tuple[Running, Keyed]]:
    put(zoo, "toy")
    with administered(zoo) as server:
        yield server


@pytest.mark.parametrize(
    ("metadata", "refused"),
    [
        ([], Refusal("UNAUTHENTICATED", MISSING)),
        (bearer("mistaken-for-a-key"), Refusal("UNAUTHENTICATED", UNKNOWN)),
        (bearer(f"{ADMIN_KEY}x"), Refusal("UNAUTHENTICATED", UNKNOWN)),
        (bearer(KEY), Refusal("PERMISSION_DENIED", ORDINARY)),
    ],
)
def test_no_other_key_opens_it(
    server: tuple[Running, Keyed], metadata: Any, refused: Refusal
) -> None:
    running, calls = server
    with connect(running.grpc) as stubs:
        for change in every_change(stubs.channel, metadata):
            assert refusal(change) == refused
        assert Admin(stubs.channel).residence() == {"toy@1.0.0": pb.RESIDENCE_LOADED}
    assert calls.generate("toy")
    labels = {"method": "LoadModel", "code": refused.code}
    until(lambda: metric(running.http, "ganagerie_requests_total", **labels) == 1, "counted")


def test_the_admin_key_opens_it_and_nothing_else(server: tuple[Running, Keyed]) -> None:
    running, _ = server
    with connect(running.grpc) as stubs:
        for change in every_change(stubs.channel, bearer(ADMIN_KEY)):
            assert change()
        for method in METHODS:
            refused = refusal(lambda method=method: call(stubs, bearer(ADMIN_KEY), method))  # type: ignore[misc]
            assert refused == Refusal("UNAUTHENTICATED", UNKNOWN)
        assert "ganagerie.v1.Admin" in services(stubs)
        assert is_healthy(stubs, "ganagerie.v1.Admin")


def test_admin_keys_can_be_revoked_while_it_runs(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.reloading.INTERVAL_S", 0.02)
    put(zoo, "toy")
    with administered(zoo) as (running, calls):
        assert code(calls.admin) == "OK"
        replace(zoo.parent / "admin-keys", "root another-horse-administers\n")
        until(lambda: code(calls.admin) == "UNAUTHENTICATED", "revoked")
        with connect(running.grpc) as stubs:
            assert code(Admin(stubs.channel, "another-horse-administers")) == "OK"


def code(admin: Admin) -> str:
    try:
        admin.states()
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def test_a_file_without_admin_keys_is_an_error_at_the_start(toy_zoo: Path, keys: Path) -> None:
    empty = keys.with_name("admin-keys")
    empty.write_text("# nobody\n")
    settings: Any = {"api_keys": keys, "admin": True, "admin_keys": empty}
    with pytest.raises(CredentialsError) as raised, server_in_thread(toy_zoo, **settings):
        pass
    assert str(raised.value) == f"{empty}: holds no keys; write lines of NAME KEY"


def test_the_limit_of_requests_in_flight_is_not_for_administrators(zoo: Path) -> None:
    put(zoo, "toy")
    with administered(zoo, max_in_flight_per_key=1) as (_, calls):
        assert calls.generate("toy")
        assert calls.admin.load("toy").residence == pb.RESIDENCE_LOADED
