"""Errors to status codes, in one table; every call counted and timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from server import errors
from server.telemetry import Telemetry
from zoo.errors import GanagerieError, InvalidRequest, ModelNotFound

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]

_STATUS: dict[type[GanagerieError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    ModelNotFound: grpc.StatusCode.NOT_FOUND,
    errors.ModelUnavailable: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Busy: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.NotReady: grpc.StatusCode.UNAVAILABLE,
}
Parser = Callable[[bytes], Any]
_OURS = ("/ganagerie.v1.", "/inference.")

_log = structlog.get_logger()


class ErrorInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in its stubs only
    """Wraps the handlers of our services.

    Of health checks and reflection only the parsing: their errors are their own, and not counted.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Replaces a handler by one that turns errors into status codes."""
        path: str = handler_call_details.method
        if path not in self._wrapped:
            handler: Handler | None = await continuation(handler_call_details)
            if handler is None:
                return handler  # type: ignore[return-value]  # None is UNIMPLEMENTED
            method = path.rsplit("/", 1)[-1]
            wrap = self._wrap if path.startswith(_OURS) else self._wrap_parsing
            self._wrapped[path] = wrap(method, handler)
        return self._wrapped[path]

    def _wrap(self, method: str, handler: Any) -> Handler:
        # The message is parsed by us, so that bytes that are none get an answer as clear as others.
        parse, serialize = handler.request_deserializer, handler.response_serializer
        if handler.response_streaming:
            streaming = self._streaming(method, handler.unary_stream, parse)
            return grpc.unary_stream_rpc_method_handler(streaming, None, serialize)
        unary = self._unary(method, handler.unary_unary, parse)
        return grpc.unary_unary_rpc_method_handler(unary, None, serialize)

    def _wrap_parsing(self, method: str, handler: Any) -> Handler:
        # gRPC would answer bytes that are no message with UNKNOWN in Python's words, and log a
        # traceback; a call without any message it would never answer. Anybody may send both.
        parse, serialize = handler.request_deserializer, handler.response_serializer

        async def answers(requests: AsyncIterator[bytes], context: Any) -> Any:
            messages = (_parsed(request, parse) async for request in requests)
            if handler.request_streaming:
                return handler.stream_stream(messages, context)
            message = await anext(messages, None)
            if message is None:
                raise InvalidRequest("request", "there is none; this method takes one message")
            if handler.response_streaming:
                return handler.unary_stream(message, context)
            return _only(await handler.unary_unary(message, context))

        async def call(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
            try:
                async with aclosing(await answers(requests, context)) as found:
                    async for answer in found:
                        yield answer
            except InvalidRequest as error:
                await Call(self._telemetry, method).abort(context, error)

        return grpc.stream_stream_rpc_method_handler(call, None, serialize)

    def _unary(
        self, method: str, behaviour: Callable[..., Awaitable[Any]], parse: Parser
    ) -> Callable[..., Any]:
        async def call(request: bytes, context: Any) -> Any:
            with Call(self._telemetry, method) as call:
                try:
                    return await behaviour(_parsed(request, parse), context)
                except Exception as error:  # noqa: BLE001  the last door before the client
                    del request  # see `Call.abort`
                    await call.abort(context, error)

        return call

    def _streaming(
        self,
        method: str,
        behaviour: Callable[..., AsyncIterator[Any]],
        parse: Callable[[bytes], Any],
    ) -> Callable[..., Any]:
        async def call(request: bytes, context: Any) -> AsyncIterator[Any]:
            with Call(self._telemetry, method) as call:
                try:
                    async for message in behaviour(_parsed(request, parse), context):
                        yield message
                except Exception as error:  # noqa: BLE001  the last door before the client
                    del request  # see `Call.abort`
                    await call.abort(context, error)

        return call


async def _only(answer: Any) -> AsyncGenerator[Any]:
    yield answer


def _parsed(request: bytes, parse: Parser) -> Any:
    try:
        return parse(request)
    except DecodeError as error:
        raise InvalidRequest(
            "request", f"these {len(request):,} bytes are not the message that this method takes"
        ) from error


class Call:
    """One call's time and outcome, told to the telemetry however it ends."""

    def __init__(self, telemetry: Telemetry, method: str) -> None:
        self._telemetry = telemetry
        self._method = method
        self._code = grpc.StatusCode.OK

    def __enter__(self) -> Call:
        self._started_s = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError | GeneratorExit):
            self._code = grpc.StatusCode.CANCELLED  # by the caller, its deadline, or the shutdown
        seconds = time.perf_counter() - self._started_s
        self._telemetry.request(self._method, self._code.name, seconds)

    async def abort(self, context: Any, error: Exception) -> NoReturn:
        """Ends the call with the status that `error` stands for.

        gRPC keeps the exception that `context.abort` raises, in a cycle with the context, until
        Python's collector comes by, and with it whatever its frames, or those of `error`, refer
        to. So the frames of `error` are let go here, and callers let go of their requests.
        """
        known = (code for kind, code in _STATUS.items() if isinstance(error, kind))
        self._code = next(known, grpc.StatusCode.INTERNAL)
        if self._code is grpc.StatusCode.INTERNAL:
            # Requests that share a batch share its error: each of them logs it with its frames.
            _log.error("internal error", method=self._method, exc_info=error)
            await context.abort(self._code, "internal error")
        for found in (error, error.__cause__, error.__context__):
            if found is not None:
                found.__traceback__ = None
        await context.abort(self._code, str(error), _details(self._code, error))
        raise AssertionError("abort returned")


def _details(code: grpc.StatusCode, error: Exception) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata: the field that is wrong (BadRequest), or when to come back (RetryInfo)."""
    detail = any_pb2.Any()
    if isinstance(error, InvalidRequest):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.reason
        )
        detail.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    elif isinstance(error, errors.Busy):
        delay = duration_pb2.Duration()
        delay.FromTimedelta(timedelta(seconds=error.retry_after_s))
        detail.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    else:
        return ()
    status = status_pb2.Status(code=code.value[0], message=str(error), details=[detail])
    return (("grpc-status-details-bin", status.SerializeToString()),)
