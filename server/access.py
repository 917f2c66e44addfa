"""Who may call: API keys at every method but health checks and reflection; others to administer."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, Final

import grpc

from server.api_keys import ApiKeys
from server.errors import Forbidden, KeyBusy, ServingError, Unauthenticated
from server.interceptors import abort
from server.telemetry.calls import OWNER
from server.telemetry.telemetry import Telemetry

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]

HEADER: Final = "authorization"
# Probes have no key, and what reflection tells is public: the protocol, not the models.
_OPEN: Final = (
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1alpha.ServerReflection/",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
)
_ADMIN: Final = ("/ganagerie.v1.Admin/",)


class AccessInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in its stubs only
    """Asks for `authorization: Bearer KEY`; refuses before the request's body is read.

    Args:
        keys: those that are known.
        admin_keys: those that open the admin service, and nothing else.
        max_in_flight: most requests running at once for one name; 0 is any number.
        telemetry: counts what is refused.
    """

    def __init__(
        self,
        keys: ApiKeys,
        admin_keys: ApiKeys | None,
        max_in_flight: int,
        telemetry: Telemetry,
    ) -> None:
        self._keys = keys
        self._admin_keys = admin_keys
        self._max_in_flight = max_in_flight
        self._telemetry = telemetry
        self._in_flight: Counter[str] = Counter()
        self._limited: dict[tuple[str, str], Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The method's handler, or one that refuses."""
        path: str = handler_call_details.method
        handler: Handler | None = await continuation(handler_call_details)
        if handler is None or path.startswith(_OPEN):
            return handler  # type: ignore[return-value]  # None is UNIMPLEMENTED
        is_admin = path.startswith(_ADMIN)
        try:
            owner = self._owner(handler_call_details.invocation_metadata, is_admin)
        except (Unauthenticated, Forbidden) as error:
            return self._refuse(path, error)
        OWNER.set(owner)
        if is_admin or not self._max_in_flight:
            return handler
        if (path, owner) not in self._limited:
            self._limited[path, owner] = self._limit(path, owner, handler)
        return self._limited[path, owner]

    def _owner(self, metadata: Any, is_admin: bool) -> str:
        values = [value for name, value in metadata or () if name == HEADER]
        if not values:
            raise Unauthenticated(f"no API key; send it as metadata {HEADER!r}: 'Bearer KEY'")
        scheme, _, key = values[0].partition(" ")
        if len(values) > 1 or scheme.lower() != "bearer":
            raise Unauthenticated(f"metadata {HEADER!r} must be there once, as 'Bearer KEY'")
        sent = key.strip().encode("utf-8", "replace")
        owner = self._keys.owner(sent)
        if is_admin:
            admin = self._admin_keys.owner(sent) if self._admin_keys else None
            if admin is None and owner is not None:
                raise Forbidden(
                    f"the API key of {owner} makes images; the admin service wants a key of the "
                    "file that --admin-keys names"
                )
            owner = admin
        if owner is None:
            raise Unauthenticated("this API key is not known here; it may have been revoked")
        return owner

    def _refuse(self, path: str, error: ServingError) -> Handler:
        async def refuse(_: Any, context: Any) -> AsyncIterator[bytes]:
            with self._telemetry.call(path, context) as call:
                await abort(call, context, error)
            yield b""  # type: ignore[unreachable]  # it makes this a stream

        # A stream of requests is not read, and an end without messages suits every method.
        return grpc.stream_stream_rpc_method_handler(refuse)

    def _limit(self, path: str, owner: str, handler: Any) -> Handler:
        sides = handler.request_streaming, handler.response_streaming
        kind = "_".join("stream" if streams else "unary" for streams in sides)
        behaviour = getattr(handler, kind)

        async def unary(request: Any, context: Any) -> Any:
            with self._slot(owner) as free:
                if free:
                    running = behaviour(request, context)
                    del request  # see `abort` of server/interceptors.py
                    return await running
            return await self._abort(path, owner, context)

        async def streaming(request: Any, context: Any) -> AsyncIterator[Any]:
            with self._slot(owner) as free:
                if free:
                    running = behaviour(request, context)
                    del request  # see `abort` of server/interceptors.py
                    async with aclosing(running) as messages:
                        async for message in messages:
                            yield message
                    return
            await self._abort(path, owner, context)

        wrapped: Handler = getattr(grpc, f"{kind}_rpc_method_handler")(
            streaming if handler.response_streaming else unary,
            handler.request_deserializer,
            handler.response_serializer,
        )
        return wrapped

    @contextmanager
    def _slot(self, owner: str) -> Iterator[bool]:
        """Counts a request while it runs; False where there are as many as may be."""
        if self._in_flight[owner] >= self._max_in_flight:
            yield False
            return
        self._in_flight[owner] += 1
        try:
            yield True
        finally:
            self._in_flight[owner] -= 1

    async def _abort(self, path: str, owner: str, context: Any) -> None:
        with self._telemetry.call(path, context) as call:
            await abort(
                call,
                context,
                KeyBusy(
                    f"{self._max_in_flight} requests of {owner} are running, as many as one API "
                    "key may have; try again later"
                ),
            )
