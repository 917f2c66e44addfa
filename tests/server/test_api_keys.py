"""API keys: who may call, how a key is revoked, and how much one may ask at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ganagerie import AsyncClient, Client
from ganagerie.errors import Unauthenticated
from protos.inference.v2 import open_inference_pb2 as oip
from protos.inference.v2 import open_inference_pb2_grpc as oip_grpc
from server.errors import CredentialsError
from tests.certificates import replace
from tests.server.calls import TIMEOUT_S, Refusal, Stubs, connect, fetch, metric, refusal, until
from tests.server.keyed_calls import KEY, METHODS, OTHER, SECOND, bearer, call, code
from tests.serving import Running, server_in_thread

MISSING = "no API key; send it as metadata 'authorization': 'Bearer KEY'"
MALFORMED = "metadata 'authorization' must be there once, as 'Bearer KEY'"
UNKNOWN = "this API key is not known here; it may have been revoked"


@pytest.fixture
def guarded(toy_zoo: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr("server.reloading.INTERVAL_S", 0.02)
    with server_in_thread(toy_zoo, api_keys=keys) as running:
        yield running


@pytest.fixture
def stubs(guarded: Running) -> Iterator[Stubs]:
    with connect(guarded.grpc) as stubs:
        yield stubs


@pytest.mark.parametrize("key", [KEY, SECOND, OTHER])
def test_every_key_of_the_file_opens_every_door(guarded: Running, key: str) -> None:
    with Client(guarded.grpc, api_key=key) as client:
        assert len(client.generate("plain", count=2)) == 2
        assert len(list(client.stream("plain", count=2))) == 2
        assert client.model(client.models()[0]).name == "colour"

    async def ask() -> tuple[int, int]:
        async with AsyncClient(guarded.grpc, api_key=key) as client:
            streamed = [image async for image in client.stream("plain", count=3)]
            await client.model((await client.models())[0])
            return len(await client.generate("plain", count=3)), len(streamed)

    assert asyncio.run(ask()) == (3, 3)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_is_spelt_as_one_likes(stubs: Stubs, scheme: str) -> None:
    assert call(stubs, [("authorization", f"{scheme} {KEY}")]).models


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ([], MISSING),
        ([("x-api-key", KEY)], MISSING),
        ([("authorization", "")], MALFORMED),
        ([("authorization", KEY)], MALFORMED),
        ([("authorization", f"Basic {KEY}")], MALFORMED),
        ([*bearer(KEY), *bearer(OTHER)], MALFORMED),
        (bearer(""), UNKNOWN),
        (bearer(KEY[:-1]), UNKNOWN),
        (bearer(f"{KEY}x"), UNKNOWN),
        (bearer(KEY.upper()), UNKNOWN),
        (bearer(f"alice {KEY}"), UNKNOWN),
        (bearer("x" * 8000), UNKNOWN),
    ],
)
def test_anything_else_opens_none(guarded: Running, stubs: Stubs, metadata: Any, text: str) -> None:
    def counted(method: str) -> float:
        labels = {"method": method, "code": "UNAUTHENTICATED"}
        return metric(guarded.http, "ganagerie_requests_total", **labels)

    for method in METHODS:
        refused = refusal(partial(call, stubs, metadata, method))
        assert refused == Refusal("UNAUTHENTICATED", text)
    until(lambda: all(counted(method) == 1 for method in METHODS), "counted")
    assert metric(guarded.http, "ganagerie_images_total") == 0


def test_the_clients_say_so_without_the_key(guarded: Running) -> None:
    mistaken = Client(guarded.grpc, api_key="mistaken-for-a-key")
    with mistaken as client, pytest.raises(Unauthenticated) as raised:
        client.generate("plain")
    assert str(raised.value) == f"{guarded.grpc}: {UNKNOWN}"


def test_health_reflection_probes_and_metrics_are_open(guarded: Running, stubs: Stubs) -> None:
    checked: Any = stubs.health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert checked.status == health_pb2.HealthCheckResponse.SERVING
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(stubs.channel)
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = reflection.ServerReflectionInfo(iter([question]), timeout=TIMEOUT_S)
    assert answer.list_services_response.service
    assert fetch(guarded.http, "/readyz")[0] == 200


def test_the_open_inference_protocol_wants_a_key_but_for_its_health(stubs: Stubs) -> None:
    inference: Any = oip_grpc.GRPCInferenceServiceStub(stubs.channel)
    assert inference.ServerLive(oip.ServerLiveRequest(), timeout=TIMEOUT_S).live
    assert inference.ServerReady(oip.ServerReadyRequest(), timeout=TIMEOUT_S).ready
    calls = [
        (inference.ServerMetadata, oip.ServerMetadataRequest()),
        (inference.ModelReady, oip.ModelReadyRequest(name="plain")),
        (inference.ModelMetadata, oip.ModelMetadataRequest(name="plain")),
        (inference.ModelConfig, oip.ModelConfigRequest(name="plain")),
        (inference.ModelStatistics, oip.ModelStatisticsRequest(name="plain")),
        (inference.RepositoryIndex, oip.RepositoryIndexRequest()),
        (inference.ModelInfer, oip.ModelInferRequest(model_name="plain")),
    ]
    for ask, request in calls:
        refused = refusal(partial(ask, request, timeout=TIMEOUT_S))
        assert refused == Refusal("UNAUTHENTICATED", MISSING)
        assert ask(request, timeout=TIMEOUT_S, metadata=bearer(KEY)).IsInitialized()


def test_an_unknown_method_is_unknown(stubs: Stubs) -> None:
    channel: Any = stubs.channel
    unknown = channel.unary_unary("/ganagerie.v1.Zoo/Nothing")
    assert refusal(lambda: unknown(b"", timeout=TIMEOUT_S)).code == "UNIMPLEMENTED"


def test_a_changed_file_revokes_and_admits_on_connections_that_exist(
    keys: Path, guarded: Running, stubs: Stubs
) -> None:
    assert (code(stubs, KEY), code(stubs, "fresh-horse-battery")) == ("OK", "UNAUTHENTICATED")
    replace(keys, f"carol fresh-horse-battery\nbob {OTHER}")
    until(lambda: code(stubs, KEY) == "UNAUTHENTICATED", "revoked")
    assert (code(stubs, OTHER), code(stubs, "fresh-horse-battery")) == ("OK", "OK")
    replace(keys, "# nobody\n")
    until(lambda: code(stubs, OTHER) == "UNAUTHENTICATED", "all revoked")


def test_a_bad_file_is_told_once_without_the_key_and_the_old_keys_stay(
    toy_zoo: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.reloading.INTERVAL_S", 0.02)
    with (
        structlog.testing.capture_logs() as events,
        server_in_thread(toy_zoo, api_keys=keys) as running,
        connect(running.grpc) as stubs,
    ):
        replace(keys, f"bob {OTHER}\nno-name-beside-this-key")
        until(lambda: "not reloaded" in str(events), "the error")
        assert (code(stubs, KEY), code(stubs, "wrong-horse-battery")) == ("OK", "UNAUTHENTICATED")
        keys.unlink()
        until(lambda: "cannot be read" in str(events), "the error")
        assert code(stubs, KEY) == "OK"
        metrics = fetch(running.http, "/metrics")[2]
    reasons = [event["reason"] for event in events if event["event"].startswith("files not")]
    wrong = "line 2: must be NAME KEY, the name of 1 to 64 letters, digits, . _ @ or -"
    missing = "cannot be read: No such file or directory"
    assert reasons == [f"{keys}: {wrong}", f"{keys}: {missing}"]
    for secret in (KEY, OTHER, "no-name-beside-this-key", "wrong-horse-battery"):
        assert secret not in str(events) + metrics


def test_a_file_is_not_taken_while_it_is_written(
    toy_zoo: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.reloading.INTERVAL_S", 0.4)
    with (
        structlog.testing.capture_logs() as events,
        server_in_thread(toy_zoo, api_keys=keys) as running,
        connect(running.grpc) as stubs,
    ):
        for end in range(30):
            keys.write_text("carol fresh-horse-battery"[:end])
            time.sleep(0.04)
        assert code(stubs, KEY) == "OK"
        until(lambda: code(stubs, "fresh-horse-battery") == "OK", "the file is whole")
    assert "not reloaded" not in str(events)


def test_links_are_followed_as_kubernetes_swaps_them(
    toy_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.reloading.INTERVAL_S", 0.02)
    for folder, key in (("old", KEY), ("new", OTHER)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "keys").write_text(f"alice {key}")
    (tmp_path / "data").symlink_to("old")
    (tmp_path / "keys").symlink_to("data/keys")
    server = server_in_thread(toy_zoo, api_keys=tmp_path / "keys")
    with server as running, connect(running.grpc) as stubs:
        assert (code(stubs, KEY), code(stubs, OTHER)) == ("OK", "UNAUTHENTICATED")
        (tmp_path / "next").symlink_to("new")
        (tmp_path / "next").replace(tmp_path / "data")
        until(lambda: code(stubs, OTHER) == "OK", "the new key")
        assert code(stubs, KEY) == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "holds no keys; write lines of NAME KEY"),
        (b"# alice\n", "holds no keys; write lines of NAME KEY"),
        (b"\xff", "is not UTF-8"),
        (b"a " + b"k" * 15, "line 1: the key of a must be 16 to 512 visible ASCII characters"),
        (b"a " + b"k" * 513, "line 1: the key of a must be 16 to 512 visible ASCII characters"),
        ("a käse-käse-käse-käse".encode(), "line 1: the key of a must be 16 to 512 visible"),
        (b"a " + b"k" * 16 + b"\nb " + b"k" * 16, "line 2: the key of b is also that of a"),
        (b"a b c", "line 1: must be NAME KEY, the name of 1 to 64"),
        (b"n" * 65 + b" " + b"k" * 16, "line 1: must be NAME KEY, the name of 1 to 64"),
    ],
)
def test_a_bad_file_is_told_at_the_start(
    toy_zoo: Path, keys: Path, content: bytes, text: str
) -> None:
    keys.write_bytes(content)
    with pytest.raises(CredentialsError) as raised, server_in_thread(toy_zoo, api_keys=keys):
        pass
    assert str(raised.value).startswith(f"{keys}: {text}")


@pytest.mark.parametrize("content", ["a " + "k" * 16, "a " + "k" * 512, "n" * 64 + " " + "k" * 16])
def test_names_and_keys_are_taken_up_to_their_limits(
    toy_zoo: Path, keys: Path, content: str
) -> None:
    keys.write_text(content)
    with server_in_thread(toy_zoo, api_keys=keys) as running, connect(running.grpc) as stubs:
        assert code(stubs, content.split()[1]) == "OK"
