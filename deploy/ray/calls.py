"""The services of the ordinary server, called in process: bytes in, bytes or a refusal out.

What `server/interceptors.py` does for a call over the wire it does here: it parses, counts, and
says which status an error is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import grpc

from protos.v1 import ganagerie_pb2_grpc as pb_grpc
from server.interceptors import ErrorInterceptor
from server.residency import Residency
from server.service import ImageGenerationService, ZooService
from server.telemetry.telemetry import Telemetry

IMAGES: Final = "/ganagerie.v1.ImageGeneration/"
ZOO: Final = "/ganagerie.v1.Zoo/"


@dataclass(frozen=True)
class Refusal:
    """A status other than OK, as a client is to get it."""

    code: grpc.StatusCode
    text: str
    trailing: tuple[tuple[str, str | bytes], ...] = ()


class Calls:
    """All methods of `ganagerie.v1`, by path.

    Args:
        residency: the models.
        telemetry: told of each call.
        max_count: most images in a request.
    """

    def __init__(self, residency: Residency, telemetry: Telemetry, max_count: int) -> None:
        self._errors = ErrorInterceptor(telemetry)
        self._handlers: dict[str, Any] = {}
        pb_grpc.add_ImageGenerationServicer_to_server(
            ImageGenerationService(residency, max_count),
            self,  # type: ignore[arg-type]  # the generated code only registers there
        )
        pb_grpc.add_ZooServicer_to_server(ZooService(residency), self)  # type: ignore[arg-type]

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Of no use here; the generated code calls both."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Takes what the generated code registers."""
        self._handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}

    async def unary(self, path: str, request: bytes) -> bytes | Refusal:
        """Calls a method that has one answer."""
        handler = await self._handler(path)
        try:
            answer = await handler.unary_unary(request, _Context())
        except _Refused as refused:
            return refused.refusal
        data: bytes = handler.response_serializer(answer)
        return data

    async def stream(self, path: str, request: bytes) -> AsyncGenerator[bytes | Refusal]:
        """Calls a method that has any number of answers; a refusal is the last."""
        handler = await self._handler(path)
        try:
            async with aclosing(handler.unary_stream(request, _Context())) as answers:
                async for answer in answers:
                    yield handler.response_serializer(answer)
        except _Refused as refused:
            yield refused.refusal

    async def _handler(self, path: str) -> Any:
        async def found(details: grpc.HandlerCallDetails) -> Any:
            return self._handlers[details.method]

        return await self._errors.intercept_service(found, _Details(path))


@dataclass(frozen=True)
class _Details(grpc.HandlerCallDetails):
    method: str
    invocation_metadata: tuple[()] = ()


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


class _Context:
    """What a call's handler asks of gRPC."""

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def time_remaining(self) -> None:
        """Unknown: a client whose deadline has passed cancels."""

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: tuple[tuple[str, str | bytes], ...] = (),
    ) -> NoReturn:
        raise _Refused(Refusal(code, details, trailing_metadata))
