"""Whatever is sent, the server answers in a few plain words and goes on."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.v1 import ganagerie_pb2 as pb
from tests.server.calls import (
    TIMEOUT_S,
    Stubs,
    connect,
    fetch,
    metric,
    mixture,
    one,
    refusal,
)
from tests.serving import Running, server_in_thread

METHODS = [
    "/ganagerie.v1.ImageGeneration/Generate",
    "/ganagerie.v1.ImageGeneration/StreamGenerate",
    "/ganagerie.v1.Zoo/ListModels",
    "/ganagerie.v1.Zoo/GetModel",
]
VALID = pb.GenerateRequest(
    model="letters",
    count=3,
    seed=7,
    truncation=0.5,
    truncation_mode=pb.TRUNCATION_MODE_SCALE,
    format=pb.IMAGE_FORMAT_WEBP,
    quality=50,
    conditions=[*one(class_name="A"), *one(class_index=1), *mixture(("A", 1), (2, 3))],
)


@pytest.fixture(scope="module")
def attacked(toy_zoo: Path) -> Iterator[Running]:
    with server_in_thread(toy_zoo, max_count=16) as running:
        yield running


@pytest.fixture(scope="module")
def target(attacked: Running) -> Iterator[Stubs]:
    with connect(attacked.grpc) as stubs:
        yield stubs


@pytest.fixture(autouse=True)
def _still_answers(attacked: Running) -> Iterator[None]:
    yield
    with connect(attacked.grpc) as stubs:
        assert len(stubs.generate("letters", count=16)) == 16
    assert fetch(attacked.http, "/readyz")[0] == 200
    assert metric(attacked.http, "ganagerie_queue_images", model="letters") == 0


def send(stubs: Stubs, method: str, body: bytes) -> str:
    """The status code of a call with any bytes for a body."""
    channel: Any = stubs.channel  # without serialisers, bytes go as they are
    call = (channel.unary_stream if "Stream" in method else channel.unary_unary)(method)
    try:
        answer = call(body, timeout=TIMEOUT_S)
        return "OK" if isinstance(answer, bytes) or list(answer) else "OK, empty"
    except grpc.RpcError as error:
        text = error.details() or ""
        assert len(text) < 1000
        for leak in ("Traceback", 'File "', ".py", "/home", "site-packages"):
            assert leak not in text
        return error.code().name


@given(body=st.binary(max_size=200), method=st.sampled_from(METHODS))
@settings(max_examples=150, deadline=None, database=None, derandomize=True)
def test_random_bytes_get_an_answer(target: Stubs, body: bytes, method: str) -> None:
    assert send(target, method, body) not in {"DEADLINE_EXCEEDED", "UNKNOWN", "INTERNAL"}


@pytest.mark.parametrize("method", METHODS)
def test_bytes_that_are_no_message_are_told_so(target: Stubs, method: str) -> None:
    channel: Any = target.channel
    call = (channel.unary_stream if "Stream" in method else channel.unary_unary)(method)
    refused = refusal(lambda: list(call(b"\xff", timeout=TIMEOUT_S)))
    assert (refused.code, refused.field) == ("INVALID_ARGUMENT", "request")
    assert refused.reason == "these 1 bytes are not the message that this method takes"


def test_a_request_that_breaks_off_gets_an_answer(target: Stubs) -> None:
    body = VALID.SerializeToString()
    codes = {send(target, METHODS[0], body[:end]) for end in range(len(body) + 1)}
    assert "OK" in codes
    assert "DEADLINE_EXCEEDED" not in codes


names = st.sampled_from(["A", "B", "C", "red"]) | st.text(max_size=20)
indices = st.integers(-1, 3) | st.integers(-(2**31), 2**31 - 1)
floats = st.sampled_from([0.0, 0.5, 1.0, 2.0]) | st.floats(width=32)
numbers = st.integers(0, 4) | st.integers(-(2**31), 2**31 - 1)
mixtures = st.builds(
    pb.ClassMixture,
    classes=st.lists(
        st.builds(pb.WeightedClass, class_name=names, weight=floats)
        | st.builds(pb.WeightedClass, class_index=indices, weight=floats)
        | st.builds(pb.WeightedClass, class_index=indices, class_name=names, weight=floats),
        max_size=4,
    ),
)
conditions = (
    st.builds(pb.Condition, class_name=names)
    | st.builds(pb.Condition, class_index=indices)
    | st.builds(pb.Condition, mixture=mixtures)
    | st.builds(pb.Condition, class_index=indices, mixture=mixtures)
)
requests = st.builds(
    lambda fields: pb.GenerateRequest(**fields),
    st.fixed_dictionaries(
        {"model": st.sampled_from(["letters", "colour", "plain@1.9.0"]) | st.text(max_size=20)},
        optional={
            "conditions": st.lists(conditions, max_size=3),
            "truncation": floats,
            "truncation_mode": numbers,
            "count": st.integers(1, 3) | st.integers(0, 2**32 - 1),
            "seed": st.integers(0, 2**64 - 1),
            "format": numbers,
            "quality": st.integers(0, 101) | st.integers(0, 2**32 - 1),
        },
    ),
)


@given(request=requests)
@settings(max_examples=300, deadline=None, database=None, derandomize=True)
def test_any_valid_message_is_served_or_refused_by_name(
    target: Stubs, request: pb.GenerateRequest
) -> None:
    body = request.SerializeToString()
    codes = {send(target, method, body) for method in METHODS[:2]}
    assert codes in ({"OK"}, {"INVALID_ARGUMENT"}, {"NOT_FOUND"})


HUGE = {
    "ascii": "x" * 1_000_000,
    "control": "\x00" * 1_000_000,
    "unicode": "\N{SNOWMAN}" * 400_000,
    "quotes": "'\"\\" * 300_000,
}


@pytest.mark.parametrize("kind", HUGE)
@pytest.mark.parametrize("where", ["model", "class", "mixture"])
def test_a_name_of_a_megabyte_gets_a_short_answer(target: Stubs, kind: str, where: str) -> None:
    name = HUGE[kind]
    if where == "model":
        refused = target.refusal(name)
        assert refused.code == "NOT_FOUND"
    else:
        named = one(class_name=name) if where == "class" else mixture((name, 1))
        refused = target.refusal("letters", conditions=named)
        assert refused.code == "INVALID_ARGUMENT"
    assert "… (" in refused.text
    assert len(refused.text) < 500


@pytest.mark.parametrize(
    ("more", "code"), [(0, "NOT_FOUND"), (1, "RESOURCE_EXHAUSTED")], ids=["4 MiB", "one more"]
)
def test_a_message_may_be_4_mib(target: Stubs, more: int, code: str) -> None:
    request = pb.GenerateRequest(model="x" * (4 * 1024 * 1024 - 5 + more))
    assert request.ByteSize() == 4 * 1024 * 1024 + more
    assert send(target, METHODS[0], request.SerializeToString()) == code


@pytest.mark.parametrize(
    "method", ["/ganagerie.v1.Zoo/Nothing", "/ganagerie.v1.Nothing/Generate", "/x", "/"]
)
def test_an_unknown_method_is_unimplemented(target: Stubs, method: str) -> None:
    assert send(target, method, b"") == "UNIMPLEMENTED"


NOISE = np.random.default_rng(1).bytes(100_000)
GARBAGE = {
    "nothing": b"",
    "http/1.1": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "half a request": b"GET /healthz HTTP/1.1\r\nHost:",
    "a huge header": b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "http/2 and noise": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + NOISE,
    "noise": NOISE,
}


@pytest.mark.parametrize("door", ["grpc", "http"])
@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_at_a_port_harms_nobody(attacked: Running, door: str, kind: str) -> None:
    host, port = getattr(attacked, door).split(":")
    with socket.create_connection((host, int(port)), TIMEOUT_S) as client:
        try:
            client.sendall(GARBAGE[kind])
            client.shutdown(socket.SHUT_WR)
            answer = client.recv(65536)
        except OSError:
            answer = b""  # hung up on: an answer too
    assert b"Traceback" not in answer


@pytest.mark.parametrize(
    ("door", "grace_s", "words"),
    [("http", 3600, b"GET /healthz HTTP/1.1\r\nHost:"), ("grpc", 0.1, b"")],
)
def test_callers_that_fall_silent_neither_crowd_out_nor_delay_the_end(
    toy_zoo: Path, door: str, grace_s: float, words: bytes
) -> None:
    with ExitStack() as silent:
        with server_in_thread(toy_zoo, grace_s=grace_s) as running:
            host, port = getattr(running, door).split(":")
            for _ in range(40):
                client = silent.enter_context(socket.create_connection((host, int(port))))
                client.sendall(words)
            with connect(running.grpc) as stubs:
                assert len(stubs.generate("plain")) == 1
            assert fetch(running.http, "/readyz")[0] == 200
            started_s = time.monotonic()
        assert time.monotonic() - started_s < TIMEOUT_S
