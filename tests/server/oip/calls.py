"""Tensors, and calls of the Open Inference Protocol through our own stubs."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protos.inference.v2 import open_inference_pb2 as pb
from protos.inference.v2 import open_inference_pb2_grpc as pb_grpc
from tests.server.calls import TIMEOUT_S, Refusal, Stubs, connect, refusal

CODES = {"INT64": "<i8", "UINT64": "<u8", "FP32": "<f4"}
FIELDS = {
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "BYTES": "bytes_contents",
}


@dataclass
class Tensor:
    """An input; its elements are flat."""

    name: str
    datatype: str
    shape: Sequence[int]
    elements: Sequence[Any]
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def raw(self) -> bytes:
        if self.datatype == "BYTES":
            return b"".join(struct.pack("<I", len(e)) + e for e in self.elements)
        return np.array(self.elements, CODES[self.datatype]).tobytes()


def classes(*values: int | str) -> Tensor:
    if isinstance(values[0], str):
        return Tensor("class", "BYTES", [len(values)], [str(v).encode() for v in values])
    return Tensor("class", "INT64", [len(values)], values)


def seeds(*values: int) -> Tensor:
    return Tensor("seed", "UINT64", [len(values)], values)


def truncation(*values: float) -> Tensor:
    return Tensor("truncation", "FP32", [len(values)], values)


def matrix(name: str, rows: Any) -> Tensor:
    array = np.asarray(rows, np.float32)
    return Tensor(name, "FP32", array.shape, array.ravel().tolist())


def request(
    model: str,
    *tensors: Tensor,
    raw: bool = False,
    parameters: dict[str, Any] | None = None,
    output: dict[str, Any] | None = None,
    **fields: Any,
) -> pb.ModelInferRequest:
    """A request; `output` are the parameters of the output `images`, if it is to be named."""
    message = pb.ModelInferRequest(model_name=model, **fields)
    set_parameters(message.parameters, parameters or {})
    if output is not None:
        set_parameters(message.outputs.add(name="images").parameters, output)
    for tensor in tensors:
        added = message.inputs.add(
            name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, **tensor.fields
        )
        if raw:
            message.raw_input_contents.append(tensor.raw)
        else:
            getattr(added.contents, FIELDS[tensor.datatype]).extend(tensor.elements)
    return message


def set_parameters(parameters: Any, values: dict[str, Any]) -> None:
    kinds = {str: "string_param", int: "int64_param", float: "double_param", bool: "bool_param"}
    for key, value in values.items():
        if isinstance(value, pb.InferParameter):
            parameters[key].CopyFrom(value)
        else:
            setattr(parameters[key], kinds[type(value)], value)


class Oip:
    """The service, and the others on the same channel."""

    def __init__(self, stubs: Stubs) -> None:
        self.stubs = stubs
        self.stub = pb_grpc.GRPCInferenceServiceStub(stubs.channel)

    def answer(self, message: pb.ModelInferRequest) -> pb.ModelInferResponse:
        return self.stub.ModelInfer(message, timeout=TIMEOUT_S)

    def infer(self, model: str, *tensors: Tensor, **options: Any) -> NDArray[np.uint8]:
        """Pixels, uint8 [N, H, W, C]."""
        return array(self.answer(request(model, *tensors, **options)))

    def refusal(self, message: pb.ModelInferRequest) -> Refusal:
        return refusal(lambda: self.answer(message))


def refused_as_invalid(oip: Oip, field: str, reason: str, message: pb.ModelInferRequest) -> None:
    wanted = Refusal("INVALID_ARGUMENT", f"{field}: {reason}", field, reason)
    assert oip.refusal(message) == wanted


def array(answer: pb.ModelInferResponse) -> NDArray[np.uint8]:
    (output,) = answer.outputs
    assert (output.name, output.datatype) == ("images", "UINT8")
    (content,) = answer.raw_output_contents
    return np.frombuffer(content, np.uint8).reshape(list(output.shape))


def files(answer: pb.ModelInferResponse) -> list[bytes]:
    """The elements of an answer of BYTES."""
    (output,), (content,) = answer.outputs, answer.raw_output_contents
    assert (output.name, output.datatype) == ("images", "BYTES")
    found = []
    while content:
        (length,) = struct.unpack_from("<I", content)
        found.append(content[4 : 4 + length])
        content = content[4 + length :]
    assert list(output.shape) == [len(found)]
    return found


@contextmanager
def connect_oip(address: str) -> Iterator[Oip]:
    with connect(address) as stubs:
        yield Oip(stubs)
