"""From a failed call to an error of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
from google.rpc import error_details_pb2, status_pb2

from ganagerie.errors import (
    CallFailed,
    DeadlineExceeded,
    ServerBusy,
    ServerUnavailable,
    Unauthenticated,
)
from zoo.errors import GanagerieError, InvalidRequest, ModelNotFound

# What our servers say: the text has both, where a proxy on the way has dropped the details.
_FIELD: Final = re.compile(
    r"(?P<field>[a-z_]+(?:\[\d+\])?(?:\.[a-z_]+(?:\[\d+\])?)*): (?P<reason>.+)"
)
# What gRPC says of a message or of metadata: no later attempt is smaller.
_TOO_LARGE: Final = re.compile(r"message larger than max|metadata size exceeds")


@contextmanager
def call_errors(target: str) -> Iterator[None]:
    """Turns a failed call into an error of ours."""
    try:
        yield
    except grpc.RpcError as error:
        raise _to_error(error, target) from error


def _to_error(error: Any, target: str) -> GanagerieError:  # RpcError has no types of its own
    code, text = error.code(), error.details() or ""
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT if bad := _detail(
            error, error_details_pb2.BadRequest()
        ):
            violation = bad.field_violations[0]
            return InvalidRequest(violation.field, violation.description)
        case grpc.StatusCode.INVALID_ARGUMENT if named := _FIELD.fullmatch(text):
            return InvalidRequest(named["field"], named["reason"])
        case grpc.StatusCode.NOT_FOUND:
            return ModelNotFound(text)
        case grpc.StatusCode.UNAVAILABLE:
            return ServerUnavailable(f"{target} does not answer ({text}); {_hint(text)}")
        case grpc.StatusCode.UNAUTHENTICATED:
            return Unauthenticated(f"{target}: {text}")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            retry = _detail(error, error_details_pb2.RetryInfo())
            if not retry and _TOO_LARGE.search(text):
                return CallFailed(f"{code.name}: {text}")
            after = retry.retry_delay.ToTimedelta().total_seconds() if retry else None
            return ServerBusy(text, after)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{target}: no answer within the deadline; raise timeout_s")
    return CallFailed(f"{code.name}: {text}")


def _hint(text: str) -> str:
    if "handshake failed" in text:
        return "the TLS settings of client and server do not agree (tls_ca, tls_cert)"
    # Not the words for a connection that breaks in the middle of a call.
    at_the_start = "failed to connect" in text or "connections to all backends failing" in text
    if at_the_start and "Socket closed" in text:
        return "does the server ask for TLS (tls_ca), or for a certificate (tls_cert)?"
    return "is the server running? ganagerie serve"


def _detail(error: Any, wanted: Any) -> Any:
    """The detail of that kind, from the call's trailing metadata; None where there is none."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(wanted) and wanted.ByteSize():
                    return wanted
    return None
