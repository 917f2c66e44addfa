"""The gRPC services: resolve, plan, submit, answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from protos.v1 import ganagerie_pb2 as pb
from protos.v1 import ganagerie_pb2_grpc as pb_grpc
from server.loading import Resident
from server.requests import Plan, plan
from server.residency import Residency
from server.telemetry.calls import observer
from server.translation import (
    fields,
    from_message,
    recommended_threshold,
    summary,
    to_message,
)
from zoo.card import Card
from zoo.errors import InvalidRequest

MAX_REPLY_BYTES: Final = 4 * 1024 * 1024  # what a gRPC client accepts unless told otherwise
_OVERHEAD_BYTES: Final = 1024  # most that an encoding and its message add to the bare pixels


class ImageGenerationService(pb_grpc.ImageGenerationServicer):
    """`ganagerie.v1.ImageGeneration`."""

    def __init__(self, residency: Residency, max_count: int) -> None:
        self._residency = residency
        self._max_count = max_count

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse:
        """All images in one answer."""
        resident, planned = await self._plan(request)
        _check_reply_size(planned.count, resident.card)
        images: list[dict[str, Any]] = [{}] * planned.count
        observe = observer(resident.card, planned.count)
        with resident.tally.request():
            async with aclosing(resident.images(planned, observe)) as batches:
                async for batch in batches:
                    for image in batch:
                        images[image.index] = fields(image, planned, resident.card)
        response = pb.GenerateResponse(images=images, model=summary(resident.card))
        if response.ByteSize() > MAX_REPLY_BYTES:  # a lossy format of high quality, a large mixture
            raise _too_large(planned.count, resident.card, "ask for fewer")
        return response

    async def StreamGenerate(
        self, request: pb.GenerateRequest, context: Any
    ) -> AsyncIterator[pb.GeneratedImage]:
        """One message per image, in order of completion."""
        resident, planned = await self._plan(request)
        observe = observer(resident.card, planned.count)
        with resident.tally.request():
            parts = resident.images(planned, observe, streamed=True)
            async with aclosing(parts) as batches:
                async for batch in batches:
                    for image in batch:
                        yield to_message(image, planned, resident.card)

    async def _plan(self, request: pb.GenerateRequest) -> tuple[Resident, Plan]:
        resident = await self._residency.resolve(request.model)
        return resident, plan(from_message(request), resident.card, self._max_count)


class ZooService(pb_grpc.ZooServicer):
    """`ganagerie.v1.Zoo`."""

    def __init__(self, residency: Residency) -> None:
        self._residency = residency

    async def ListModels(
        self, request: pb.ListModelsRequest, context: Any
    ) -> pb.ListModelsResponse:
        """Every model that is being served."""
        return pb.ListModelsResponse(models=map(summary, self._residency.roster.cards()))

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:
        """One model, with its card and class names."""
        card = self._residency.roster.card(request.model)
        return pb.GetModelResponse(
            summary=summary(card),
            class_names=card.class_names,
            recommended_truncation=recommended_threshold(card),
            card_json=card.to_json(),
        )


def images_that_fit(card: Card) -> int:
    """How many of a model's images surely fit a reply; at least 1."""
    image = card.image
    largest = image.height * image.width * image.channels + _OVERHEAD_BYTES
    return max(1, MAX_REPLY_BYTES // largest)


def _check_reply_size(count: int, card: Card) -> None:
    fits = images_that_fit(card)
    if count > fits:
        raise _too_large(count, card, f"ask for at most {fits}")


def _too_large(count: int, card: Card, fix: str) -> InvalidRequest:
    return InvalidRequest(
        "count",
        f"{count} images of {card.reference} may exceed a reply of {MAX_REPLY_BYTES:,} bytes; "
        f"{fix}, or use StreamGenerate",
    )
