"""The gRPC services: translation between messages and the domain, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from protos.v1 import ganagerie_pb2 as pb
from protos.v1 import ganagerie_pb2_grpc as pb_grpc
from server.batching import FinishedImage
from server.encoding import ImageFormat
from server.requests import ClassChoice, Condition, GenerationRequest, Plan, plan
from server.residency import Residency, Resident
from zoo.card import Card
from zoo.errors import InvalidRequest
from zoo.latents import TruncationMode

MAX_REPLY_BYTES: Final = 4 * 1024 * 1024  # what a gRPC client accepts unless told otherwise
_OVERHEAD_BYTES: Final = 1024  # most that an encoding and its message add to the bare pixels

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
_FORMAT_NUMBERS = {_FORMATS[number]: number for number in _FORMATS if number}
_MODE_NUMBERS = {mode: number for number, mode in _MODES.items()}


class ImageGenerationService(pb_grpc.ImageGenerationServicer):
    """`ganagerie.v1.ImageGeneration`."""

    def __init__(self, residency: Residency, max_count: int) -> None:
        self._residency = residency
        self._max_count = max_count

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse:  # noqa: N802
        """All images in one answer."""
        resident, planned = self._plan(request)
        _check_reply_size(planned.count, resident.card)
        messages: list[pb.GeneratedImage | None] = [None] * planned.count
        async with aclosing(resident.batcher.images(planned)) as batches:
            async for batch in batches:
                for image in batch:
                    messages[image.index] = _to_message(image, planned, resident.card)
        return pb.GenerateResponse(
            images=(message for message in messages if message), model=_summary(resident.card)
        )

    async def StreamGenerate(  # noqa: N802
        self, request: pb.GenerateRequest, context: Any
    ) -> AsyncIterator[pb.GeneratedImage]:
        """One message per image, in order of completion."""
        resident, planned = self._plan(request)
        async with aclosing(resident.batcher.images(planned)) as batches:
            async for batch in batches:
                for image in batch:
                    yield _to_message(image, planned, resident.card)

    def _plan(self, request: pb.GenerateRequest) -> tuple[Resident, Plan]:
        resident = self._residency.resolve(request.model)
        return resident, plan(_from_message(request), resident.card, self._max_count)


class ZooService(pb_grpc.ZooServicer):
    """`ganagerie.v1.Zoo`."""

    def __init__(self, residency: Residency) -> None:
        self._residency = residency

    async def ListModels(
        self, request: pb.ListModelsRequest, context: Any
    ) -> pb.ListModelsResponse:
        """Every model that is being served."""
        cards = (resident.card for resident in self._residency.models.values())
        return pb.ListModelsResponse(models=map(_summary, cards))

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:  # noqa: N802
        """One model, with its card and class names."""
        card = self._residency.resolve(request.model).card
        return pb.GetModelResponse(
            summary=_summary(card),
            class_names=card.class_names,
            recommended_truncation=card.truncation.default,
            card_json=card.to_json(),
        )


def _from_message(request: pb.GenerateRequest) -> GenerationRequest:
    if request.format not in _FORMATS:
        known = ", ".join(f"{f.name} ({number})" for f, number in _FORMAT_NUMBERS.items())
        raise InvalidRequest("format", f"{request.format} is unknown; allowed: {known}")
    if request.truncation_mode not in _MODES:
        known = ", ".join(f"{mode.name} ({n})" for mode, n in _MODE_NUMBERS.items() if mode)
        raise InvalidRequest(
            "truncation_mode", f"{request.truncation_mode} is unknown; allowed: {known}"
        )
    return GenerationRequest(
        model=request.model,
        count=request.count if request.HasField("count") else 1,
        conditions=tuple(map(_condition, request.conditions)),
        truncation=request.truncation if request.HasField("truncation") else None,
        truncation_mode=_MODES[request.truncation_mode],
        seed=request.seed if request.HasField("seed") else None,
        format=_FORMATS[request.format],
        quality=request.quality if request.HasField("quality") else None,
    )


def _condition(message: pb.Condition) -> Condition:
    single = message.HasField("class_name") or message.HasField("class_index")
    return Condition(
        choice=_choice(message) if single else None,
        mixture=(
            tuple(_choice(c, c.weight) for c in message.mixture.classes)
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


def _to_message(image: FinishedImage, planned: Plan, card: Card) -> pb.GeneratedImage:
    truncation = planned.truncation
    return pb.GeneratedImage(
        data=image.data,
        seed=image.seed,
        index=image.index,
        classes=[
            pb.WeightedClass(class_name=card.class_names[i], class_index=i, weight=weight)
            for i, weight in image.mixture or ()
        ],
        truncation=truncation.value if truncation else None,
        truncation_mode=_MODE_NUMBERS[truncation.mode if truncation else None],  # type: ignore[arg-type]  # numbers of the enum
        width=card.image.width,
        height=card.image.height,
        channels=card.image.channels,
        format=_FORMAT_NUMBERS[planned.encoding.format],  # type: ignore[arg-type]  # numbers of the enum
    )


def _summary(card: Card) -> pb.ModelSummary:
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


def _check_reply_size(count: int, card: Card) -> None:
    image = card.image
    fits = MAX_REPLY_BYTES // (image.height * image.width * image.channels + _OVERHEAD_BYTES)
    if count > max(1, fits):
        raise InvalidRequest(
            "count",
            f"{count} images of {card.reference} may exceed a reply of {MAX_REPLY_BYTES:,} bytes; "
            f"ask for at most {max(1, fits)}, or use StreamGenerate",
        )
