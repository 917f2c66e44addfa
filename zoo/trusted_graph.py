"""What a graph may contain: ONNX's own operators, and weights in the file itself.

onnxruntime refuses operators that nobody registered, and is told to find no other file. It has
operators of its own besides, though (`com.microsoft`), one of which loads compiled code from a file
(EPContext); none of them is needed here. So a file is looked through before onnxruntime sees it.
The onnx package is no dependency of serving; protobuf's wire format is all that is needed to walk
from message to message (https://protobuf.dev/programming-guides/encoding), with the numbers of
onnx.proto's fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zoo.errors import ArtifactError, shown

ALLOWED_DOMAINS = frozenset({"", "ai.onnx"})  # two names of one: ONNX's own operators

# For each message the fields that lead to others; the rest is passed over.
MESSAGES = {
    "ModelProto": {7: "GraphProto", 8: "OperatorSetIdProto", 25: "FunctionProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 9: "OperatorSetIdProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
    "OperatorSetIdProto": {},
}
DOMAIN = {"NodeProto": 7, "OperatorSetIdProto": 1}
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of TensorProto

_MAX_VARINT = 10  # bytes


def check_graph(path: Path, content: bytes) -> None:
    """Looks through an ONNX file.

    Raises:
        ArtifactError: it has operators of other domains, or weights in other files, or is no
            protobuf message that can be followed.
    """
    try:
        _walk(path, memoryview(content))
    except ValueError as error:
        raise ArtifactError(
            f"{path}: onnxruntime cannot load it: it is no ONNX file ({error})"
        ) from error


def _walk(path: Path, content: memoryview) -> None:
    waiting = [("ModelProto", content)]
    while waiting:
        kind, message = waiting.pop()
        inner, domain_field = MESSAGES[kind], DOMAIN.get(kind)
        for number, value in _fields(message):
            if number in inner and isinstance(value, memoryview):
                waiting.append((inner[number], value))
            elif number == domain_field and isinstance(value, memoryview):
                _require_allowed(path, bytes(value).decode(errors="replace"))
            elif kind == "TensorProto" and (
                number == EXTERNAL_DATA or (number == DATA_LOCATION and value)
            ):
                raise ArtifactError(
                    f"{path}: has weights in another file, which nobody checked; export it as one"
                )


def _require_allowed(path: Path, domain: str) -> None:
    if domain not in ALLOWED_DOMAINS:
        raise ArtifactError(
            f"{path}: has operators of domain {shown(domain)}; "
            "only ONNX's own (ai.onnx) are allowed"
        )


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: an int, or the bytes of a message or a string."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        if key >> 32:  # protobuf in C++ would drop these bits and see another field
            raise ValueError(f"{key >> 3} is no number of a field")
        value: int | memoryview = 0
        match key & 7:
            case 0:
                value, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                size, at = _varint(message, at)
                value = message[at : at + size]
                at += size
            case 5:
                at += 4
            case other:
                raise ValueError(f"wire type {other}")
        if at > end:
            raise ValueError("it ends in the middle of a field")
        yield key >> 3, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(message[at : at + _MAX_VARINT]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    raise ValueError("a number has no end")
