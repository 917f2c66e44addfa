"""What a caller gets when a call fails, through each of the four ways to ask for images."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from ganagerie import AsyncClient, Client
from ganagerie.errors import (
    CallFailed,
    ClientError,
    DeadlineExceeded,
    ServerBusy,
    ServerUnavailable,
)
from protos.v1 import ganagerie_pb2 as pb
from tests.ganagerie.conftest import Behaviour, Call, Scripted, answers, fails, hangs
from tests.serving import Running, server_in_thread
from zoo.errors import GanagerieError, InvalidRequest, ModelNotFound

Start = Callable[[Behaviour], Scripted]

TWO_DOORS = pytest.mark.parametrize("call", ["generate", "async stream"], indirect=True)


@pytest.mark.parametrize(
    ("model", "options", "text"),
    [
        ("plain", {"count": 0}, "count: 0 is outside 1 to 4096"),
        ("plain", {"count": 4097}, "count: 4097 is outside 1 to 4096"),
        (
            "plain",
            {"count": 2, "seed": 2**64 - 1},
            "seed: 18446744073709551615 is outside 0 to 18446744073709551614 "
            "(the seed of the last of 2 images must fit in 64 bits)",
        ),
        (
            "plain",
            {"truncation": float("nan")},
            "truncation: nan is not allowed; a finite number of at least 0, or unset",
        ),
        (
            "plain",
            {"truncation": 1.5, "truncation_mode": "scale"},
            "truncation: 1.5 is outside 0 to 1 for truncation mode SCALE",
        ),
        (
            "plain",
            {"truncation_mode": "scale"},
            "truncation_mode: SCALE needs a truncation beside it",
        ),
        ("plain", {"quality": 5}, "quality: 5: PNG has none; leave it unset"),
        ("plain", {"quality": 0, "format": "jpeg"}, "quality: 0 is outside 1 to 100"),
        ("plain", {"quality": 101, "format": "webp"}, "quality: 101 is outside 1 to 100"),
        (
            "plain",
            {"classes": "A"},
            "conditions: plain@1.10.0 has no classes; leave conditions empty",
        ),
        (
            "letters",
            {"classes": ["A", "B", "C"], "count": 2},
            "conditions: 3 given; allowed: 0, 1 or 2 (the count)",
        ),
        (
            "letters",
            {"classes": "D"},
            "conditions[0].class_name: 'D' is not a class of letters@1.0.0; "
            "nearest: 'C', 'B', 'A' (GetModel lists all 3)",
        ),
        (
            "letters",
            {"classes": 3},
            "conditions[0].class_index: 3 is outside 0 to 2 of letters@1.0.0",
        ),
        (
            "letters",
            {"classes": ["A", {"A": 1, "B": -1}], "count": 2},
            "conditions[1].mixture.classes[1].weight: "
            "-1.0 is not allowed; a finite number of at least 0",
        ),
        (
            "letters",
            {"classes": {}},
            "conditions[0].mixture: the weights sum to 0; at least one must be positive",
        ),
    ],
)
def test_server_names_the_field_and_the_reason(
    call: Call, toy_server: Running, model: str, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        call(toy_server.grpc, model, **options)
    assert (raised.value.field, raised.value.reason) == tuple(text.split(": ", 1))
    assert str(raised.value) == text


def test_unknown_model_lists_what_there_is(call: Call, toy_server: Running) -> None:
    with pytest.raises(ModelNotFound) as raised:
        call(toy_server.grpc, "letters@2.0.0")
    assert str(raised.value) == (
        "no model 'letters@2.0.0'; did you mean 'letters@1.0.0'? "
        "There is: colour@1.0.0, letters@1.0.0, plain@1.10.0, plain@1.9.0"
    )


def test_full_queue_is_busy(call: Call, busy_server: Running) -> None:
    with pytest.raises(ServerBusy) as raised:
        call(busy_server.grpc, "letters", count=3)
    assert str(raised.value) == (
        "2 images wait for letters, 3 more would exceed 4; try again later"
    )


def test_request_too_large_to_send_is_not_busy(client: Client) -> None:
    with pytest.raises(GanagerieError) as raised:
        client.generate("letters", classes="A" * 5_000_000)
    assert not isinstance(raised.value, ServerBusy)


def test_request_too_large_for_the_server_is_not_busy(call: Call, toy_zoo: Path) -> None:
    with (
        server_in_thread(toy_zoo, max_request_bytes=2000) as running,
        pytest.raises(CallFailed, match=r"^RESOURCE_EXHAUSTED: .*message larger than max"),
    ):
        call(running.grpc, "letters", classes="A" * 3000)


def test_metadata_that_is_too_large_is_not_busy(toy_server: Running) -> None:
    with (
        Client(toy_server.grpc, api_key="k" * 20_000) as client,
        pytest.raises(CallFailed, match=r"^RESOURCE_EXHAUSTED: .*metadata size exceeds"),
    ):
        client.generate("plain")


def test_an_answer_that_is_too_large_is_not_busy(call: Call, scripted: Start) -> None:
    server = scripted(answers(64 * 1024 * 1024))
    with pytest.raises(CallFailed, match=r"^RESOURCE_EXHAUSTED: .*message larger than max"):
        call(server.target, "any")


@TWO_DOORS  # each waits for its retries
def test_nobody_listening(call: Call, nobody: str) -> None:
    with pytest.raises(ServerUnavailable) as raised:
        call(nobody, "plain")
    assert re.fullmatch(
        rf"{nobody} does not answer \(.*refused.*\); is the server running\? ganagerie serve",
        str(raised.value),
    )


def test_nobody_listening_for_questions_about_models(nobody: str) -> None:
    with Client(nobody) as client, pytest.raises(ServerUnavailable, match=f"^{nobody} does not"):
        client.models()


def test_unavailable_is_asked_again(call: Call, scripted: Start) -> None:
    server = scripted(fails(2, grpc.StatusCode.UNAVAILABLE))
    assert [image.seed for image in call(server.target, "any")] == [9]
    assert server.attempts == 3


@TWO_DOORS
def test_fourth_attempt_is_the_last(call: Call, scripted: Start) -> None:
    server = scripted(fails(4, grpc.StatusCode.UNAVAILABLE))
    with pytest.raises(ServerUnavailable) as raised:
        call(server.target, "any")
    assert str(raised.value) == (
        f"{server.target} does not answer (attempt 4); is the server running? ganagerie serve"
    )
    assert server.attempts == 4


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        ("RESOURCE_EXHAUSTED", ServerBusy, "attempt 1"),
        ("NOT_FOUND", ModelNotFound, "attempt 1"),
        ("INTERNAL", CallFailed, "INTERNAL: attempt 1"),
        ("FAILED_PRECONDITION", CallFailed, "FAILED_PRECONDITION: attempt 1"),
        ("INVALID_ARGUMENT", CallFailed, "INVALID_ARGUMENT: attempt 1"),
    ],
)
def test_other_failures_are_final(
    call: Call, scripted: Start, code: str, kind: type[GanagerieError], text: str
) -> None:
    server = scripted(fails(1, grpc.StatusCode[code]))
    with pytest.raises(GanagerieError) as raised:
        call(server.target, "any")
    assert (type(raised.value), str(raised.value)) == (kind, text)
    assert server.attempts == 1


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ("count: 0 is outside 1 to 4096", "count", "0 is outside 1 to 4096"),
        (
            "conditions[1].mixture.classes[10].weight: -1.0: no",
            "conditions[1].mixture.classes[10].weight",
            "-1.0: no",
        ),
    ],
)
def test_field_is_known_where_a_proxy_has_dropped_the_details(
    call: Call, scripted: Start, text: str, field: str, reason: str
) -> None:
    def refuses(_: int, context: grpc.ServicerContext) -> Iterator[pb.GeneratedImage]:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)

    with pytest.raises(InvalidRequest) as raised:
        call(scripted(refuses).target, "any")
    assert (raised.value.field, raised.value.reason) == (field, reason)


def _one_then_gone(_: int, context: grpc.ServicerContext) -> Iterator[pb.GeneratedImage]:
    yield from answers()(1, context)
    context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


def test_stream_that_has_begun_is_not_begun_again(scripted: Start) -> None:
    server = scripted(_one_then_gone)
    with Client(server.target) as client:
        images = client.stream("any")
        assert next(images).seed == 9
        with pytest.raises(ServerUnavailable, match="gone"):
            next(images)
    assert server.attempts == 1


def test_client_sets_a_deadline(call: Call, scripted: Start) -> None:
    server = scripted(hangs)
    with pytest.raises(DeadlineExceeded) as raised:
        call(server.target, "any", client_timeout_s=0.1)
    assert str(raised.value) == (f"{server.target}: no answer within the deadline; raise timeout_s")


def test_call_may_set_a_shorter_deadline(call: Call, scripted: Start) -> None:
    started_s = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        call(scripted(hangs).target, "any", client_timeout_s=9, timeout_s=0.1)
    assert time.monotonic() - started_s < 5


def _answers_late(attempt: int, context: grpc.ServicerContext) -> Iterator[pb.GeneratedImage]:
    time.sleep(0.15)
    return answers()(attempt, context)


def test_call_may_set_a_longer_deadline(call: Call, scripted: Start) -> None:
    target = scripted(_answers_late).target
    assert call(target, "any", client_timeout_s=0.05, timeout_s=9)
    with pytest.raises(DeadlineExceeded):
        call(target, "any", client_timeout_s=0.05)


def test_deadline_of_zero_is_no_time_at_all(call: Call, scripted: Start) -> None:
    with pytest.raises(DeadlineExceeded):
        call(scripted(_answers_late).target, "any", timeout_s=0)


def test_deadline_covers_the_retries(call: Call, scripted: Start) -> None:
    server = scripted(fails(9, grpc.StatusCode.UNAVAILABLE))
    with pytest.raises(ClientError):
        call(server.target, "any", client_timeout_s=0.1)
    assert server.attempts < 4


def test_server_without_a_zoo_service(scripted: Start) -> None:
    target = scripted(answers()).target
    with Client(target) as client, pytest.raises(CallFailed, match=r"^UNIMPLEMENTED: "):
        client.models()

    async def ask() -> None:
        async with AsyncClient(target) as client:
            await client.model("plain")

    with pytest.raises(CallFailed, match=r"^UNIMPLEMENTED: "):
        asyncio.run(ask())
