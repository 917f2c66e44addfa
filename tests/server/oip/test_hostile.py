"""Whatever is sent to the Open Inference Protocol, the server answers in a few plain words."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.inference.v2 import open_inference_pb2 as pb
from tests.server.calls import TIMEOUT_S, Stubs, connect, metric, refusal
from tests.server.oip.calls import Oip, classes, matrix, request, seeds, truncation
from tests.serving import Running, server_in_thread
from tests.toys import Z_DIM

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
METHODS = [f"/{SERVICE.full_name}/{method.name}" for method in SERVICE.methods]
INFER = f"/{SERVICE.full_name}/ModelInfer"
ANSWERS = {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}
MANY = settings(max_examples=250, deadline=None, database=None, derandomize=True)


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
        assert len(Oip(stubs).infer("letters", seeds(*range(16)))) == 16
    assert metric(attacked.http, "ganagerie_queue_images") == 0


def send(stubs: Stubs, method: str, body: bytes) -> str:
    """The status code of a call with any bytes for a body."""
    channel: Any = stubs.channel  # without serialisers, bytes go as they are
    try:
        channel.unary_unary(method)(body, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        text = error.details() or ""
        assert len(text) < 1000
        for leak in ("Traceback", 'File "', ".py", "/home", "site-packages"):
            assert leak not in text
        return error.code().name
    return "OK"


@given(body=st.binary(max_size=200), method=st.sampled_from(METHODS))
@MANY
def test_random_bytes_get_an_answer(target: Stubs, body: bytes, method: str) -> None:
    assert send(target, method, body) in ANSWERS


@pytest.mark.parametrize("method", METHODS)
def test_bytes_that_are_no_message_are_told_so(target: Stubs, method: str) -> None:
    channel: Any = target.channel
    refused = refusal(lambda: channel.unary_unary(method)(b"\xff", timeout=TIMEOUT_S))
    assert refused[0] == "INVALID_ARGUMENT"
    assert refused[2:4] == (
        "request",
        "these 1 bytes are not the message that this method takes",
    )


VALID = request(
    "letters",
    classes("A", "C"),
    seeds(1, 2),
    truncation(0.5, 2),
    raw=True,
    parameters={"truncation_mode": "threshold"},
    output={"format": "webp", "quality": 50},
)


def test_a_request_that_breaks_off_gets_an_answer(target: Stubs) -> None:
    body = VALID.SerializeToString()
    codes = {send(target, INFER, body[:end]) for end in range(len(body) + 1)}
    assert "OK" in codes
    assert codes <= ANSWERS


def test_a_request_with_any_byte_changed_gets_an_answer(target: Stubs) -> None:
    body = VALID.SerializeToString()
    for i in range(len(body)):
        for flipped in (0xFF, 0x80, 0x01):
            changed = body[:i] + bytes([body[i] ^ flipped]) + body[i + 1 :]
            assert send(target, INFER, changed) in ANSWERS


names = st.sampled_from(["class", "class_weights", "truncation", "seed", "z"])
datatypes = st.sampled_from(["INT64", "BYTES", "FP32", "UINT64"])
counts = st.integers(0, 3)
shapes = (
    st.lists(counts, max_size=3)
    | st.tuples(counts, st.sampled_from([1, 3, Z_DIM])).map(list)
    | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4)
)
floats = st.floats(width=32)
contents = st.builds(
    pb.InferTensorContents,
    int64_contents=st.lists(st.integers(-1, 3) | st.integers(-(2**63), 2**63 - 1), max_size=3),
    uint64_contents=st.lists(st.integers(0, 2**64 - 1), max_size=3),
    fp32_contents=st.lists(floats, max_size=3 * Z_DIM),
    bytes_contents=st.lists(st.sampled_from([b"A", b"B"]) | st.binary(max_size=9), max_size=3),
) | st.just(pb.InferTensorContents())
values = (
    st.builds(pb.InferParameter, string_param=st.sampled_from(["png", "raw", "scale"]))
    | st.builds(pb.InferParameter, int64_param=st.integers(-(2**63), 2**63 - 1))
    | st.builds(pb.InferParameter, double_param=st.floats())
    | st.just(pb.InferParameter())
)
parameters = st.dictionaries(
    st.sampled_from(["format", "quality", "truncation_mode"]) | st.text(max_size=9),
    values,
    max_size=2,
)
Input = pb.ModelInferRequest.InferInputTensor
inputs = st.builds(
    Input,
    name=names | st.text(max_size=9),
    datatype=datatypes | st.text(max_size=9),
    shape=shapes,
    contents=contents,
)


@st.composite
def plausible(draw: Any) -> tuple[Any, bytes]:
    """An input that has a chance, and its raw bytes."""
    name = draw(names)
    datatype = {"class": "INT64", "seed": "UINT64"}.get(name, "FP32")
    width = {"class_weights": 3, "z": Z_DIM}.get(name, 1)
    count = draw(st.integers(1, 3))
    size = count * width
    kind: Any = {"INT64": st.integers(0, 3), "UINT64": st.integers(0, 2**64 - 1)}
    drawn = draw(st.lists(kind.get(datatype, floats), min_size=size, max_size=size))
    dtype = {"INT64": "<i8", "UINT64": "<u8"}.get(datatype, "<f4")
    return Input(name=name, datatype=datatype, shape=[count, width]), np.array(
        drawn, dtype
    ).tobytes()


models = st.sampled_from(["letters", "plain", "colour"])


@given(
    model=models | st.text(max_size=9),
    tensors=st.lists(inputs, max_size=3),
    raw=st.lists(st.binary(max_size=40), max_size=3),
    given=parameters,
    output=st.lists(parameters, max_size=2),
    output_name=st.just("images") | st.text(max_size=9),
)
@MANY
def test_any_message_is_served_or_refused(
    target: Stubs, model: str, tensors: Any, raw: Any, given: Any, output: Any, output_name: str
) -> None:
    message = pb.ModelInferRequest(
        model_name=model, inputs=tensors, raw_input_contents=raw, parameters=given
    )
    for asked in output:
        message.outputs.add(name=output_name, parameters=asked)
    assert send(target, INFER, message.SerializeToString()) in ANSWERS


@given(model=models, tensors=st.lists(plausible(), max_size=4), given=parameters)
@MANY
def test_messages_that_have_a_chance_are_served_or_refused(
    target: Stubs, model: str, tensors: Any, given: Any
) -> None:
    message = pb.ModelInferRequest(
        model_name=model,
        inputs=[tensor for tensor, _ in tensors],
        raw_input_contents=[raw for _, raw in tensors],
        parameters=given,
    )
    assert send(target, INFER, message.SerializeToString()) in {"OK", "INVALID_ARGUMENT"}


HUGE = "x" * 1_000_000
PLACES = "model version input datatype shape class key value input-parameter output"


def huge(where: str) -> pb.ModelInferRequest:
    message = request("letters", seeds(1), classes("A"))
    match where:
        case "model":
            message.model_name = HUGE
        case "version":
            message.model_version = HUGE
        case "input":
            message.inputs[0].name = HUGE
        case "datatype":
            message.inputs[0].datatype = HUGE
        case "shape":
            message.inputs[0].shape[:] = [1] * 1_000_000
        case "class":
            message.inputs[1].contents.bytes_contents[0] = HUGE.encode()
        case "key":
            message.parameters[HUGE].int64_param = 1
        case "value":
            message.parameters["format"].string_param = HUGE
        case "input-parameter":
            message.inputs[0].parameters[HUGE].int64_param = 1
        case "output":
            message.outputs.add(name=HUGE)
    return message


@pytest.mark.parametrize("where", PLACES.split())
def test_a_megabyte_anywhere_gets_a_short_answer(target: Stubs, where: str) -> None:
    refused = Oip(target).refusal(huge(where))
    assert refused.code == ("NOT_FOUND" if where in {"model", "version"} else "INVALID_ARGUMENT")
    assert len(refused.text) < 500


def test_latents_at_the_ends_of_what_a_float_holds_are_served(target: Stubs) -> None:
    oip = Oip(target)
    for value in (3.4e38, -3.4e38, 1e-45, -0.0):
        rows = [[value] * Z_DIM, [1.0] * Z_DIM]
        extreme = oip.infer("plain", matrix("z", rows))
        alone = oip.infer("plain", matrix("z", rows[1:]))
        assert np.array_equal(extreme[1:], alone)


def test_lengths_that_add_up_to_more_than_there_is_are_refused(target: Stubs) -> None:
    message = request("letters", classes(*"ABCABCABCABC"), raw=True)
    for length in (0, 1, 2**31, 2**32 - 1):
        message.raw_input_contents[0] = struct.pack("<I", length) * 12
        assert send(target, INFER, message.SerializeToString()) == "INVALID_ARGUMENT"
