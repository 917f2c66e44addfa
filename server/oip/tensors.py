"""The elements of an input tensor, from either of the two places where a request has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protos.inference.v2 import open_inference_pb2 as pb
from zoo.errors import InvalidRequest, shown

_ELEMENTS: Final[dict[str, np.dtype[Any]]] = {
    "INT64": np.dtype("<i8"),
    "UINT64": np.dtype("<u8"),
    "FP32": np.dtype("<f4"),
}
_CONTENTS: Final = {
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "BYTES": "bytes_contents",
}
_LENGTH: Final = 4  # bytes before each element of BYTES

Elements = NDArray[Any] | list[bytes]
"""Numbers as [N] or [N, width], or N strings of bytes."""


@dataclass(frozen=True)
class Input:
    """What an input must be.

    Attributes:
        name: of the tensor.
        datatypes: those allowed.
        width: elements in a row.
        is_vector: whether a row of one element is written [N, 1] only, not [N].
    """

    name: str
    datatypes: tuple[str, ...]
    width: int = 1
    is_vector: bool = False

    @property
    def shapes(self) -> str:
        """Allowed shapes, as messages say them."""
        return f"[N, {self.width}]" if self.is_vector else "[N] or [N, 1]"


def check_tensor(tensor: pb.ModelInferRequest.InferInputTensor, spec: Input, at: int) -> None:
    """Checks all of a tensor but its elements; it has at least one dimension then.

    Args:
        tensor: as it came.
        spec: what it must be.
        at: its position in the request.

    Raises:
        InvalidRequest: names the field, what came and what is allowed.
    """
    datatype = tensor.datatype
    if datatype not in spec.datatypes:
        raise InvalidRequest(
            f"inputs[{at}].datatype",
            f"{shown(datatype)} for {spec.name}; allowed: {' or '.join(spec.datatypes)}",
        )
    if tensor.parameters:
        raise InvalidRequest(
            f"inputs[{at}].parameters", f"{shown(min(tensor.parameters))}: inputs take none"
        )
    _check_shape(tensor.shape, spec, at)


def read_tensor(
    tensor: pb.ModelInferRequest.InferInputTensor, spec: Input, at: int, raw: bytes | None
) -> Elements:
    """The elements of a tensor that has been checked, one row an image.

    Args:
        tensor: as it came.
        spec: what it must be.
        at: its position in the request.
        raw: its part of `raw_input_contents`, if the request has any.

    Raises:
        InvalidRequest: names the field, what came and what is allowed.
    """
    datatype, shape = tensor.datatype, list(tensor.shape)
    if raw is None:
        return _typed(tensor, shape, spec, at)
    if tensor.HasField("contents"):
        raise InvalidRequest(
            f"inputs[{at}].contents", "raw_input_contents is there as well; leave one out"
        )
    if datatype == "BYTES":
        return _split(raw, shape[0], spec, at)
    wanted = math.prod(shape) * _ELEMENTS[datatype].itemsize
    if len(raw) != wanted:
        raise InvalidRequest(
            f"raw_input_contents[{at}]",
            f"{len(raw):,} bytes for {spec.name}; {datatype} {shape} takes {wanted:,}",
        )
    return _rows(np.frombuffer(raw, _ELEMENTS[datatype]), spec)


def _check_shape(shape: Sequence[int], spec: Input, at: int) -> None:
    row = shape[1:]
    fits = row == [spec.width] or (not row and not spec.is_vector)
    if not shape or shape[0] < 0 or not fits:
        raise InvalidRequest(
            f"inputs[{at}].shape", f"{shown(list(shape))} for {spec.name}; allowed: {spec.shapes}"
        )


def _typed(
    tensor: pb.ModelInferRequest.InferInputTensor, shape: list[int], spec: Input, at: int
) -> Elements:
    field = _CONTENTS[tensor.datatype]
    for other, _ in tensor.contents.ListFields():
        if other.name != field:
            raise InvalidRequest(
                f"inputs[{at}].contents.{other.name}",
                f"elements of {tensor.datatype} belong into {field}",
            )
    elements = getattr(tensor.contents, field)
    wanted = math.prod(shape)
    if len(elements) != wanted:
        raise InvalidRequest(
            f"inputs[{at}].contents.{field}",
            f"{len(elements):,} elements for {spec.name}; {shape} takes {wanted:,}",
        )
    if tensor.datatype == "BYTES":
        return list(elements)
    return _rows(np.fromiter(elements, _ELEMENTS[tensor.datatype], wanted), spec)


def _rows(elements: NDArray[Any], spec: Input) -> NDArray[Any]:
    return elements.reshape(-1, spec.width) if spec.is_vector else elements


def _split(raw: bytes, count: int, spec: Input, at: int) -> list[bytes]:
    """Elements of BYTES, each led by its length."""
    elements: list[bytes] = []
    start = 0
    while start < len(raw) and len(elements) < count:
        end = start + _LENGTH + int.from_bytes(raw[start : start + _LENGTH], "little")
        if end > len(raw):
            raise InvalidRequest(
                f"raw_input_contents[{at}]",
                f"element {len(elements)} of {spec.name} goes beyond the {len(raw):,} bytes; each "
                "is led by its length as four bytes, little-endian",
            )
        elements.append(raw[start + _LENGTH : end])
        start = end
    if len(elements) != count or start != len(raw):
        raise InvalidRequest(
            f"raw_input_contents[{at}]",
            f"{len(elements):,} elements of {spec.name} and {len(raw) - start:,} bytes more; "
            f"there must be {count:,} elements and nothing more",
        )
    return elements
