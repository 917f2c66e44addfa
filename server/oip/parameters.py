"""The parameters of a request and of its output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from protos.inference.v2 import open_inference_pb2 as pb
from server.encoding import ImageFormat
from server.requests import Priority
from zoo.errors import InvalidRequest, shown
from zoo.latents import TruncationMode

_OF_OUTPUT = ("format", "quality")
_OF_REQUEST = (*_OF_OUTPUT, "truncation_mode", "priority")
_KINDS = {
    "format": ("string_param",),
    "quality": ("int64_param", "uint64_param"),
    "truncation_mode": ("string_param",),
    "priority": ("string_param",),
}
Named = TypeVar("Named", bound=Enum)


@dataclass(frozen=True)
class Parameters:
    """What parameters say; None where they say nothing."""

    format: ImageFormat = ImageFormat.RAW
    quality: int | None = None
    truncation_mode: TruncationMode | None = None
    priority: Priority = Priority.NORMAL


def read_parameters(request: pb.ModelInferRequest) -> Parameters:
    """The parameters of a request, and of the one output that it may name.

    Raises:
        InvalidRequest: names the parameter, what came and what is allowed; or the output.
    """
    for i, output in enumerate(request.outputs):
        if output.name != "images":
            raise InvalidRequest(
                f"outputs[{i}].name", f"{shown(output.name)} is unknown; allowed: images"
            )
        if i:
            raise InvalidRequest(f"outputs[{i}].name", "images is there already")
    found = _values(request.parameters, "parameters", _OF_REQUEST)
    for output in request.outputs:
        at = "outputs[0].parameters"
        for key, value in _values(output.parameters, at, _OF_OUTPUT).items():
            if key in found:
                raise InvalidRequest(f"{at}[{key!r}]", "the request has it too; leave one out")
            found[key] = value
    return Parameters(
        format=_named(ImageFormat, found.get("format"), "format") or ImageFormat.RAW,
        quality=found.get("quality"),  # type: ignore[arg-type]  # its kinds are whole numbers
        truncation_mode=_named(TruncationMode, found.get("truncation_mode"), "truncation_mode"),
        priority=_named(Priority, found.get("priority"), "priority") or Priority.NORMAL,
    )


def _values(
    parameters: Mapping[str, pb.InferParameter], at: str, allowed: tuple[str, ...]
) -> dict[str, object]:
    found: dict[str, object] = {}
    for key in sorted(parameters):
        if key not in allowed:
            raise InvalidRequest(at, f"{shown(key)} is unknown; allowed: {', '.join(allowed)}")
        kind = parameters[key].WhichOneof("parameter_choice")
        if kind not in _KINDS[key]:
            raise InvalidRequest(
                f"{at}[{key!r}]", f"{kind or 'no value'}; allowed: {' or '.join(_KINDS[key])}"
            )
        found[key] = getattr(parameters[key], kind)
    return found


def _named(kind: type[Named], value: object, name: str) -> Named | None:
    if value is None:
        return None
    for member in kind:
        if member.value == value:
            return member
    allowed = ", ".join(member.value for member in kind)
    raise InvalidRequest(name, f"{shown(value)} is unknown; allowed: {allowed}")
