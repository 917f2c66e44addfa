"""Hostile health checks and reflection, and calls of a shape that no client of ours sends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.calls import TIMEOUT_S, Refusal, Stubs, connect, fetch, metric, refusal
from tests.serving import Running, server_in_thread

HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
OPEN = [f"{HEALTH}Check", f"{HEALTH}Watch", REFLECTION]
OURS = {
    "/ganagerie.v1.ImageGeneration/Generate": b"\n\x05plain",
    "/ganagerie.v1.ImageGeneration/StreamGenerate": b"\n\x05plain",
    "/ganagerie.v1.Zoo/ListModels": b"",
    "/ganagerie.v1.Zoo/GetModel": b"\n\x05plain",
    "/inference.GRPCInferenceService/ModelInfer": b"\n\x05plain",
    f"{HEALTH}Check": b"",
}
SILENT = 8  # calls that never send a message, to each method


@pytest.fixture(scope="module")
def attacked(toy_zoo: Path) -> Iterator[Running]:
    with server_in_thread(toy_zoo, max_count=16) as running:
        yield running


@pytest.fixture(scope="module")
def target(attacked: Running) -> Iterator[Stubs]:
    with connect(attacked.grpc) as stubs:
        yield stubs


@pytest.fixture(autouse=True)
def _still_answers(attacked: Running, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    with connect(attacked.grpc) as stubs:
        assert len(stubs.generate("letters", count=16)) == 16
    assert fetch(attacked.http, "/readyz")[0] == 200
    assert metric(attacked.http, "ganagerie_queue_images") == 0
    assert "Traceback" not in caplog.text  # gRPC logs what a handler did not catch


def send(stubs: Stubs, method: str, *bodies: bytes, timeout_s: float = TIMEOUT_S) -> list[bytes]:
    """Any number of messages to any method, whatever it takes; its answers."""
    channel: Any = stubs.channel
    if method.endswith("/Watch"):  # it would go on
        watching = channel.stream_stream(method)(iter(bodies), timeout=timeout_s)
        first = next(watching)
        watching.cancel()
        return [first]
    return list(channel.stream_stream(method)(iter(bodies), timeout=timeout_s))


@pytest.mark.parametrize("method", OPEN)
@pytest.mark.parametrize("body", [b"\xff", b"\n\x04\xff\xff\xff\xff"], ids=["none", "not UTF-8"])
def test_bytes_that_are_no_message_are_told_so(target: Stubs, method: str, body: bytes) -> None:
    reason = f"these {len(body)} bytes are not the message that this method takes"
    wanted = Refusal("INVALID_ARGUMENT", f"request: {reason}", "request", reason)
    assert refusal(lambda: send(target, method, body)) == wanted


@pytest.mark.parametrize("method", OPEN[:2])
def test_a_call_without_a_message_is_told_so(target: Stubs, method: str) -> None:
    reason = "there is none; this method takes one message"
    wanted = Refusal("INVALID_ARGUMENT", f"request: {reason}", "request", reason)
    assert refusal(lambda: send(target, method)) == wanted


def test_reflection_without_questions_ends(target: Stubs) -> None:
    assert send(target, REFLECTION) == []


@given(
    bodies=st.lists(st.binary(max_size=80), min_size=1, max_size=3), method=st.sampled_from(OPEN)
)
@settings(max_examples=150, deadline=None, database=None, derandomize=True)
def test_random_bytes_get_an_answer(target: Stubs, bodies: list[bytes], method: str) -> None:
    try:
        assert send(target, method, *bodies)
    except grpc.RpcError as error:
        assert error.code().name in {"INVALID_ARGUMENT", "NOT_FOUND"}  # noqa: PT017  any is right


@pytest.mark.parametrize("method", OURS)
def test_messages_after_the_first_are_passed_over(target: Stubs, method: str) -> None:
    assert len(send(target, method, *[OURS[method]] * 20)) == 1


@pytest.mark.parametrize("method", OURS)
def test_fields_that_nobody_knows_are_passed_over(target: Stubs, method: str) -> None:
    unknown = b"\xfa\x3f\x03abc"  # field 1023, of 3 bytes
    assert len(send(target, method, OURS[method] + unknown)) == 1


def test_calls_that_never_send_their_message_delay_neither_others_nor_the_end(
    toy_zoo: Path,
) -> None:
    with ExitStack() as clients:
        with server_in_thread(toy_zoo, grace_s=0.1) as running:
            silent: list[Any] = []
            for method in list(OURS)[:-1]:  # health checks without a message are answered
                channel: Any = clients.enter_context(connect(running.grpc)).channel
                silent += [channel.stream_stream(method)(iter(())) for _ in range(SILENT)]
            with connect(running.grpc) as stubs:
                assert len(stubs.generate("plain")) == 1
            silent[0].cancel()
            assert refusal(lambda: next(silent[0])).code == "CANCELLED"
        codes = {refusal(lambda call=call: next(call)).code for call in silent[1:]}  # type: ignore[misc]
        assert codes <= {"UNAVAILABLE", "CANCELLED"}
