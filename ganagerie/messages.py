"""Between Python values and the protocol's messages; both clients use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral
from typing import Any, Final, Literal, TypedDict

from ganagerie.image import GeneratedImage
from protos.v1 import ganagerie_pb2 as pb
from zoo.errors import InvalidRequest, shown

Class = str | int | Mapping[str, float] | Mapping[int, float]
"""A class name, a class index, or a mixture: weights by name or by index."""

Format = Literal["png", "jpeg", "webp", "raw"]
Mode = Literal["threshold", "scale"]
Priority = Literal["normal", "bulk"]

_FORMATS: Final = {
    "png": pb.IMAGE_FORMAT_PNG,
    "jpeg": pb.IMAGE_FORMAT_JPEG,
    "webp": pb.IMAGE_FORMAT_WEBP,
    "raw": pb.IMAGE_FORMAT_RAW,
}
MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024  # what a gRPC server accepts unless told otherwise

_A_CLASS: Final = "a class name, a class index, or weights by name or index"
_KINDS: Final = {
    "model": "a string",
    "count": "an integer from 1 to 2**32 - 1",
    "seed": "an integer from 0 to 2**64 - 1",
    "quality": "an integer from 1 to 100",
    "truncation": "a number",
    "format": "a string",
    "truncation_mode": "a string",
    "priority": "a string",
}
_FORMAT_NAMES: Final = {number: name for name, number in _FORMATS.items()}
_MODES: Final = {
    "threshold": pb.TRUNCATION_MODE_THRESHOLD,
    "scale": pb.TRUNCATION_MODE_SCALE,
}
_PRIORITIES: Final = {"normal": pb.PRIORITY_NORMAL, "bulk": pb.PRIORITY_BULK}


class Options(TypedDict, total=False):
    """What may be asked of a model; every key may be left out.

    count: how many images; 1 unless given.
    classes: one class for all images, or a sequence of one each; a class is a name, an index, or a
        mixture such as `{"A": 0.5, "R": 0.5}`. Left out: drawn from the model's prior.
    truncation: threshold, finite and at least 0. Left out: no truncation.
    truncation_mode: `threshold` (unless given) or `scale`.
    seed: image i has seed `seed + i`. Left out: drawn by the server.
    format: `png` (unless given), `jpeg`, `webp` or `raw`.
    quality: 1 to 100, for `jpeg` and `webp`.
    priority: `normal` (unless given), or `bulk` for work that can wait: it is done when nothing
        else fills the server.
    """

    count: int
    classes: Class | Sequence[Class] | None
    truncation: float | None
    truncation_mode: Mode | None
    seed: int | None
    format: Format
    quality: int | None
    priority: Priority | None


def to_request(model: str, options: Options) -> pb.GenerateRequest:
    """The message for a call.

    Raises:
        InvalidRequest: a value that the message cannot even hold; the server checks the rest.
    """
    unknown = set(options) - set(Options.__annotations__)
    if unknown:
        allowed = ", ".join(Options.__annotations__)
        raise InvalidRequest(sorted(unknown)[0], f"is not an option; allowed: {allowed}")
    request = pb.GenerateRequest(conditions=_conditions(options.get("classes")))
    plain = {key: options.get(key) for key in ("count", "seed", "quality", "truncation")}
    named = {
        "format": _number("format", options.get("format"), _FORMATS),
        "truncation_mode": _number("truncation_mode", options.get("truncation_mode"), _MODES),
        "priority": _number("priority", options.get("priority"), _PRIORITIES),
    }
    for field, value in {"model": model, **plain, **named}.items():
        if value is None:
            continue
        try:
            setattr(request, field, value)
        except (TypeError, ValueError) as error:
            raise InvalidRequest(
                field, f"{shown(value)} is not allowed; must be {_KINDS[field]}"
            ) from error
    if request.ByteSize() > MAX_REQUEST_BYTES:
        raise InvalidRequest(
            "classes",
            f"the request has {request.ByteSize():,} bytes, a server takes {MAX_REQUEST_BYTES:,}; "
            "split it",
        )
    return request


def to_image(message: pb.GeneratedImage) -> GeneratedImage:
    """A received image."""
    return GeneratedImage(
        data=message.data,
        seed=message.seed,
        index=message.index,
        classes={chosen.class_name: chosen.weight for chosen in message.classes},
        truncation=message.truncation if message.HasField("truncation") else None,
        width=message.width,
        height=message.height,
        channels=message.channels,
        format=_FORMAT_NAMES.get(message.format, str(message.format)),
    )


def _number(field: str, name: str | None, known: Mapping[str, int]) -> int | None:
    if name is None:
        return None
    if not isinstance(name, str) or name not in known:
        raise InvalidRequest(field, f"{shown(name)} is unknown; allowed: {', '.join(known)}")
    return known[name]


def _conditions(classes: Class | Sequence[Class] | None) -> list[pb.Condition]:
    if classes is None:
        return []
    if isinstance(classes, str | Integral | Mapping):
        return [_condition(classes, "classes")]
    several: list[Class] = []
    if isinstance(classes, Iterable) and not isinstance(classes, bytes | Set):
        several = list(classes)
    if not several:
        raise InvalidRequest(
            "classes", f"{shown(classes)} is not allowed; must be {_A_CLASS}, or a list of these"
        )
    return [_condition(chosen, f"classes[{i}]") for i, chosen in enumerate(several)]


def _condition(chosen: Class, field: str) -> pb.Condition:
    try:
        if isinstance(chosen, Mapping):
            weighted = [
                pb.WeightedClass(weight=weight, **_chosen(key)) for key, weight in chosen.items()
            ]
            return pb.Condition(mixture=pb.ClassMixture(classes=weighted))
        return pb.Condition(**_chosen(chosen))
    except (TypeError, ValueError) as error:
        raise InvalidRequest(
            field, f"{shown(chosen)} is not allowed; must be {_A_CLASS}"
        ) from error


def _chosen(key: str | Integral | int) -> Any:
    if isinstance(key, str):
        return {"class_name": key}
    if isinstance(key, bool) or not isinstance(key, Integral):
        raise TypeError(key)
    return {"class_index": int(key)}
