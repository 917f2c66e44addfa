"""Between the protocol's messages and the domain; no decisions are made here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

from protos.v1 import ganagerie_pb2 as pb
from server.encoding import ImageFormat
from server.requests import (
    ClassChoice,
    Condition,
    FinishedImage,
    GenerationRequest,
    Plan,
    Priority,
)
from zoo.card import Card
from zoo.errors import InvalidRequest
from zoo.latents import Truncation, TruncationMode

T = TypeVar("T")

_FORMATS: dict[int, ImageFormat] = {
    pb.IMAGE_FORMAT_UNSPECIFIED: ImageFormat.PNG,
    pb.IMAGE_FORMAT_PNG: ImageFormat.PNG,
    pb.IMAGE_FORMAT_JPEG: ImageFormat.JPEG,
    pb.IMAGE_FORMAT_WEBP: ImageFormat.WEBP,
    pb.IMAGE_FORMAT_RAW: ImageFormat.RAW,
}
_MODES: dict[int, TruncationMode | None] = {
    pb.TRUNCATION_MODE_UNSPECIFIED: None,
    pb.TRUNCATION_MODE_THRESHOLD: TruncationMode.THRESHOLD,
    pb.TRUNCATION_MODE_SCALE: TruncationMode.SCALE,
}
_PRIORITIES: dict[int, Priority] = {
    pb.PRIORITY_UNSPECIFIED: Priority.NORMAL,
    pb.PRIORITY_NORMAL: Priority.NORMAL,
    pb.PRIORITY_BULK: Priority.BULK,
}
_FORMAT_NUMBERS = {_FORMATS[number]: number for number in _FORMATS if number}
_MODE_NUMBERS = {mode: number for number, mode in _MODES.items()}


def from_message(request: pb.GenerateRequest) -> GenerationRequest:
    """What a message asks for.

    Raises:
        InvalidRequest: a number that its enumeration does not know.
    """
    if request.format not in _FORMATS:
        known = ", ".join(f"{f.name} ({number})" for f, number in _FORMAT_NUMBERS.items())
        raise InvalidRequest("format", f"{request.format} is unknown; allowed: {known}")
    if request.truncation_mode not in _MODES:
        known = ", ".join(f"{mode.name} ({n})" for mode, n in _MODE_NUMBERS.items() if mode)
        raise InvalidRequest(
            "truncation_mode", f"{request.truncation_mode} is unknown; allowed: {known}"
        )
    if request.priority not in _PRIORITIES:
        known = ", ".join(f"{p.name} ({n})" for n, p in _PRIORITIES.items() if n)
        raise InvalidRequest("priority", f"{request.priority} is unknown; allowed: {known}")
    return GenerationRequest(
        model=request.model,
        count=request.count if request.HasField("count") else 1,
        conditions=_Translated(request.conditions, _condition) if request.conditions else (),
        truncation=request.truncation if request.HasField("truncation") else None,
        truncation_mode=_MODES[request.truncation_mode],
        seed=request.seed if request.HasField("seed") else None,
        format=_FORMATS[request.format],
        quality=request.quality if request.HasField("quality") else None,
        priority=_PRIORITIES[request.priority],
    )


class _Translated(Collection[T]):
    """Parts of a message, each translated when it is looked at.

    There may be millions, in a request that is going to be refused for it.
    """

    def __init__(self, messages: Collection[Any], translate: Callable[[Any], T]) -> None:
        self._messages = messages
        self._translate = translate

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[T]:
        return map(self._translate, self._messages)

    def __contains__(self, item: object) -> bool:
        return any(item == found for found in self)


def _condition(message: pb.Condition) -> Condition:
    single = message.HasField("class_name") or message.HasField("class_index")
    return Condition(
        choice=_choice(message) if single else None,
        mixture=(
            _Translated(message.mixture.classes, lambda c: _choice(c, c.weight))
            if message.HasField("mixture")
            else None
        ),
    )


def _choice(message: pb.Condition | pb.WeightedClass, weight: float = 1.0) -> ClassChoice:
    return ClassChoice(
        name=message.class_name if message.HasField("class_name") else None,
        index=message.class_index if message.HasField("class_index") else None,
        weight=weight,
    )


def to_message(image: FinishedImage, planned: Plan, card: Card) -> pb.GeneratedImage:
    """One image of an answer."""
    return pb.GeneratedImage(**fields(image, planned, card))


def fields(image: FinishedImage, planned: Plan, card: Card) -> dict[str, Any]:
    """The fields of `to_message`: an answer of many images is made of these in half the time."""
    truncation = planned.truncation(image.index)
    return {
        "data": image.data,
        "seed": image.seed,
        "index": image.index,
        "classes": [
            {"class_name": card.class_names[i], "class_index": i, "weight": weight}
            for i, weight in image.mixture or ()
        ],
        "truncation": truncation.value if truncation else None,
        "truncation_mode": _MODE_NUMBERS[truncation.mode if truncation else None],
        "width": card.image.width,
        "height": card.image.height,
        "channels": card.image.channels,
        "format": _FORMAT_NUMBERS[planned.encoding.format],
    }


def recommended_threshold(card: Card) -> float | None:
    """The truncation that a card recommends, as a threshold: where it scales, of equal variance."""
    advice = card.truncation
    if advice.default is None:
        return None
    return Truncation(advice.default, TruncationMode(advice.mode)).equivalent_threshold


def summary(card: Card) -> pb.ModelSummary:
    """What a listing says of a model."""
    return pb.ModelSummary(
        name=card.name,
        version=card.version,
        architecture=card.architecture,
        digest=card.artifact.sha256,
        width=card.image.width,
        height=card.image.height,
        channels=card.image.channels,
        z_dim=card.latent.dim,
        n_classes=len(card.class_names),
    )
