"""Errors to status codes, in one table; every call counted and timed."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from server import errors
from server.telemetry.calls import Call
from server.telemetry.telemetry import Telemetry
from zoo.errors import GanagerieError, InvalidRequest, ModelNotFound

if TYPE_CHECKING:  # generic in the stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]

_STATUS: dict[type[GanagerieError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    ModelNotFound: grpc.StatusCode.NOT_FOUND,
    errors.ModelUnavailable: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Busy: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
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
        for kind in _STATUS:
            telemetry.metrics.expect_rejections(map(_reason, _leaves(kind)))
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
            ours = path.startswith(_OURS)
            self._wrapped[path] = self._wrap(path, handler) if ours else _wrap_parsing(handler)
        return self._wrapped[path]

    def _wrap(self, path: str, handler: Any) -> Handler:
        # The message is parsed by us, so that bytes that are none get an answer as clear as others.
        parse = handler.request_deserializer
        serialize = self._counted(path, handler.response_serializer)
        if handler.response_streaming:
            streaming = self._streaming(path, handler.unary_stream, parse)
            return grpc.unary_stream_rpc_method_handler(streaming, None, serialize)
        unary = self._unary(path, handler.unary_unary, parse)
        return grpc.unary_unary_rpc_method_handler(unary, None, serialize)

    def _counted(self, path: str, serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
        count = self._telemetry.metrics.method(path).reply_bytes.inc

        def counted(message: Any) -> bytes:
            data = serialize(message)
            count(len(data))
            return data

        return counted

    def _unary(
        self, path: str, behaviour: Callable[..., Awaitable[Any]], parse: Parser
    ) -> Callable[..., Any]:
        async def call(request: bytes, context: Any) -> Any:
            with self._telemetry.call(path, context) as call:
                try:
                    return await behaviour(_parsed(request, parse), context)
                except Exception as error:  # noqa: BLE001  the last door before the client
                    del request  # see `abort`
                    await abort(call, context, error)

        return call

    def _streaming(
        self,
        path: str,
        behaviour: Callable[..., AsyncGenerator[Any]],
        parse: Callable[[bytes], Any],
    ) -> Callable[..., Any]:
        async def call(request: bytes, context: Any) -> AsyncIterator[Any]:
            with self._telemetry.call(path, context) as call:
                try:
                    async with aclosing(behaviour(_parsed(request, parse), context)) as messages:
                        async for message in messages:
                            yield message
                except Exception as error:  # noqa: BLE001  the last door before the client
                    del request  # see `abort`
                    await abort(call, context, error)

        return call


def _wrap_parsing(handler: Any) -> Handler:
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
            code = grpc.StatusCode.INVALID_ARGUMENT
            await context.abort(code, str(error), _details(code, error))

    return grpc.stream_stream_rpc_method_handler(call, None, serialize)


async def _only(answer: Any) -> AsyncGenerator[Any]:
    yield answer


def _parsed(request: bytes, parse: Parser) -> Any:
    try:
        return parse(request)
    except DecodeError as error:
        raise InvalidRequest(
            "request", f"these {len(request):,} bytes are not the message that this method takes"
        ) from error


async def abort(call: Call, context: Any, error: Exception) -> NoReturn:
    """Ends a call with the status that `error` stands for.

    gRPC keeps the exception that `context.abort` raises, in a cycle with the context, until
    Python's collector comes by, and with it whatever its frames, or those of `error`, refer to. So
    the frames of `error` are let go here, and callers let go of their requests.
    """
    known = (code for kind, code in _STATUS.items() if isinstance(error, kind))
    code = next(known, grpc.StatusCode.INTERNAL)
    if code is grpc.StatusCode.INTERNAL:
        call.fail(code.name, None)
        # Requests that share a batch share its error: each of them logs it with its frames.
        _log.error("internal error", **call.labels, exc_info=error)
        await context.abort(code, "internal error")
    call.fail(code.name, _reason(type(error)))
    for found in (error, error.__cause__, error.__context__):
        if found is not None:
            found.__traceback__ = None
    await context.abort(code, str(error), _details(code, error))
    raise AssertionError("abort returned")


def _reason(kind: type[Exception]) -> str:
    """What metrics call an error: `QueueFull` is `queue_full`."""
    return re.sub(r"\B(?=[A-Z])", "_", kind.__name__).lower()


def _leaves(kind: type[Exception]) -> Iterator[type[Exception]]:
    if not kind.__subclasses__():
        yield kind
    for below in kind.__subclasses__():
        yield from _leaves(below)


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
