"""The door: takes the calls of `ganagerie.v1` from Serve's gRPC proxy and has a replica answer.

Serve places and queues; what is done here is to ask again when a replica dies. Serve itself ends
such a call with INTERNAL. As an image is a function of its request, asking twice does no harm.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import structlog
from ray.exceptions import RayActorError

from deploy.ray.calls import IMAGES, ZOO, Refusal
from protos.v1 import ganagerie_pb2 as pb
from server.requests import DRAWN_SEED_BITS
from server.telemetry.logs import configure_logging

ATTEMPTS: Final = 3  # replicas that a request may outlive: one that kills them has to end

_log = structlog.get_logger()


class Ingress:
    """`ganagerie.v1`, as Serve calls it.

    Args:
        replicas: handle of the deployment of `Replica`.
        multiplexed: prefer replicas that have a request's model in memory.
    """

    def __init__(self, replicas: Any, multiplexed: bool) -> None:
        configure_logging("auto")
        self._replicas = replicas
        self._multiplexed = multiplexed

    async def Generate(self, request: pb.GenerateRequest, grpc_context: Any) -> pb.GenerateResponse:
        """All images in one answer."""
        answer = await self._unary(f"{IMAGES}Generate", request, request.model, grpc_context)
        return pb.GenerateResponse.FromString(answer)

    async def ListModels(
        self, request: pb.ListModelsRequest, grpc_context: Any
    ) -> pb.ListModelsResponse:
        """Every model that is being served."""
        answer = await self._unary(f"{ZOO}ListModels", request, "", grpc_context)
        return pb.ListModelsResponse.FromString(answer)

    async def GetModel(self, request: pb.GetModelRequest, grpc_context: Any) -> pb.GetModelResponse:
        """One model, with its card and class names."""
        answer = await self._unary(f"{ZOO}GetModel", request, "", grpc_context)
        return pb.GetModelResponse.FromString(answer)

    async def StreamGenerate(
        self, request: pb.GenerateRequest, grpc_context: Any
    ) -> AsyncIterator[pb.GeneratedImage]:
        """One message per image; a replica that dies is succeeded by one that makes the rest."""
        if not request.HasField("seed"):
            request.seed = secrets.randbits(
                DRAWN_SEED_BITS
            )  # the successor must make the same images
        replicas, data = self._for(request.model), request.SerializeToString()
        sent: set[int] = set()
        for attempt in range(1, ATTEMPTS + 1):
            answers = replicas.options(stream=True).stream.remote(f"{IMAGES}StreamGenerate", data)
            try:
                async for answer in answers:
                    if isinstance(answer, Refusal):
                        _refuse(grpc_context, answer)
                    image = pb.GeneratedImage.FromString(answer)
                    if image.index not in sent:
                        sent.add(image.index)
                        yield image
            except RayActorError as error:
                _died(error, attempt)
            else:
                return
        _refuse(grpc_context, _LOST)

    async def _unary(self, path: str, request: Any, model: str, context: Any) -> bytes:
        """The answer's bytes; none where the call was refused, which the context then says."""
        replicas, data = self._for(model), request.SerializeToString()
        answer: bytes | Refusal = _LOST
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = await replicas.unary.remote(path, data)
                break
            except RayActorError as error:
                _died(error, attempt)
        if isinstance(answer, Refusal):
            # Serve drops the trailing metadata of a call that raises, not of one that returns.
            context.set_code(answer.code)
            context.set_details(answer.text)
            context.set_trailing_metadata(list(answer.trailing))
            return b""
        return answer

    def _for(self, model: str) -> Any:
        return self._replicas.options(multiplexed_model_id=model if self._multiplexed else "")


class _Refused(Exception):
    """Ends a stream; what the client gets is in the context."""


_LOST: Final = Refusal(
    grpc.StatusCode.INTERNAL,
    f"{ATTEMPTS} replicas ended while they worked on this request; their logs may say why",
)


def _refuse(context: Any, refusal: Refusal) -> None:
    context.set_code(refusal.code)
    context.set_details(refusal.text)
    raise _Refused(refusal.text)


def _died(error: RayActorError, attempt: int) -> None:
    _log.warning("a replica ended with a request", attempt=attempt, of=ATTEMPTS, actor=str(error))
