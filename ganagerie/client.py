"""The Python clients: `Client` for plain code, `AsyncClient` for asyncio.

Both keep one connection, put a deadline on every call, and retry when the server is unavailable:
an image is a function of its request, so asking twice does no harm.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Unpack

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from ganagerie.errors import (
    CallFailed,
    DeadlineExceeded,
    ServerBusy,
    ServerUnavailable,
)
from ganagerie.image import GeneratedImage
from ganagerie.messages import Options, to_image, to_request
from protos.v1 import ganagerie_pb2 as pb
from protos.v1 import ganagerie_pb2_grpc as pb_grpc
from zoo.errors import GanagerieError, InvalidRequest, ModelNotFound

DEFAULT_TARGET: Final = "127.0.0.1:50051"

_RETRY = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_OPTIONS: Final = (
    ("grpc.service_config", json.dumps(_RETRY)),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)


@dataclass(frozen=True)
class Model:
    """A model that a server answers for; `card` is its model card, as parsed JSON."""

    name: str
    version: str
    architecture: str
    digest: str
    class_names: tuple[str, ...]
    recommended_truncation: float | None
    card: dict[str, Any]


class Client:
    """Calls a Ganagerie server.

    Example:
        with Client("127.0.0.1:50051") as client:
            for result in client.generate("dcgan-emnist", count=16, truncation=0.7, seed=1):
                result.image.save(f"{result.seed}.png")

    Args:
        target: `HOST:PORT`.
        timeout_s: deadline of each call, retries included.
    """

    def __init__(self, target: str = DEFAULT_TARGET, *, timeout_s: float = 30.0) -> None:
        self._target = target
        self._timeout_s = timeout_s
        self._channel = grpc.insecure_channel(target, options=_OPTIONS)
        self._images = pb_grpc.ImageGenerationStub(self._channel)
        self._zoo = pb_grpc.ZooStub(self._channel)

    def generate(
        self, model: str, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> list[GeneratedImage]:
        """Makes images, in order of index.

        Args:
            model: `name`, for its newest version, or `name@version`.
            timeout_s: deadline in place of the client's.
            **options: count, classes, truncation, seed and more: see `Options`.

        Raises:
            InvalidRequest: a value that cannot be; has the field.
            ModelNotFound: lists what there is.
            ClientError: the call failed.
        """
        request = to_request(model, options)
        with _errors(self._target):
            response = self._images.Generate(request, timeout=_first(timeout_s, self._timeout_s))
        return [to_image(message) for message in response.images]

    def stream(
        self, model: str, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> Generator[GeneratedImage]:
        """As `generate`, one image at a time, in order of completion; for many images."""
        request = to_request(model, options)
        call = self._images.StreamGenerate(request, timeout=_first(timeout_s, self._timeout_s))
        try:
            with _errors(self._target):
                yield from map(to_image, call)
        finally:
            call.cancel()  # type: ignore[no-untyped-call]  # the caller may have stopped early; without effect on a finished call

    def models(self) -> list[str]:
        """References, `name@version`, of all models that are being served."""
        with _errors(self._target):
            response = self._zoo.ListModels(pb.ListModelsRequest(), timeout=self._timeout_s)
        return [f"{model.name}@{model.version}" for model in response.models]

    def model(self, reference: str) -> Model:
        """One model, with its card.

        Raises:
            ModelNotFound: lists what there is.
            ClientError: the call failed.
        """
        with _errors(self._target):
            request = pb.GetModelRequest(model=reference)
            return _to_model(self._zoo.GetModel(request, timeout=self._timeout_s))

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient:
    """Calls a Ganagerie server from asyncio; arguments and errors are those of `Client`."""

    def __init__(self, target: str = DEFAULT_TARGET, *, timeout_s: float = 30.0) -> None:
        self._target = target
        self._timeout_s = timeout_s
        self._channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self._images: Any = pb_grpc.ImageGenerationStub(self._channel)
        self._zoo: Any = pb_grpc.ZooStub(self._channel)

    async def generate(
        self, model: str, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> list[GeneratedImage]:
        """Makes `count` images; see `Client.generate`."""
        request = to_request(model, options)
        with _errors(self._target):
            response = await self._images.Generate(
                request, timeout=_first(timeout_s, self._timeout_s)
            )
        return [to_image(message) for message in response.images]

    async def stream(
        self, model: str, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> AsyncGenerator[GeneratedImage]:
        """One image at a time; see `Client.stream`."""
        request = to_request(model, options)
        call = self._images.StreamGenerate(request, timeout=_first(timeout_s, self._timeout_s))
        try:
            with _errors(self._target):
                async for message in call:
                    yield to_image(message)
        finally:
            call.cancel()  # the caller may have stopped early; without effect on a finished call

    async def models(self) -> list[str]:
        """References of all models; see `Client.models`."""
        with _errors(self._target):
            response = await self._zoo.ListModels(pb.ListModelsRequest(), timeout=self._timeout_s)
        return [f"{model.name}@{model.version}" for model in response.models]

    async def model(self, reference: str) -> Model:
        """One model, with its card; see `Client.model`."""
        with _errors(self._target):
            request = pb.GetModelRequest(model=reference)
            return _to_model(await self._zoo.GetModel(request, timeout=self._timeout_s))

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close(None)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _first(given: float | None, default: float) -> float:
    return default if given is None else given


@contextmanager
def _errors(target: str) -> Iterator[None]:
    """Turns a failed call into an error of ours."""
    try:
        yield
    except grpc.RpcError as error:
        raise _to_error(error, target) from error


def _to_error(error: Any, target: str) -> GanagerieError:  # RpcError has no types of its own
    code, text = error.code(), error.details() or ""
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT if invalid := _invalid(error):
            return invalid
        case grpc.StatusCode.NOT_FOUND:
            return ModelNotFound(text)
        case grpc.StatusCode.UNAVAILABLE:
            return ServerUnavailable(
                f"{target} does not answer ({text}); is the server running? ganagerie serve"
            )
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return ServerBusy(text)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{target}: no answer within the deadline; raise timeout_s")
    return CallFailed(f"{code.name}: {text}")


def _invalid(error: Any) -> InvalidRequest | None:
    """The field that the server complains of, from the call's trailing metadata."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                bad = error_details_pb2.BadRequest()
                if detail.Unpack(bad) and bad.field_violations:
                    violation = bad.field_violations[0]
                    return InvalidRequest(violation.field, violation.description)
    return None


def _to_model(response: pb.GetModelResponse) -> Model:
    summary = response.summary
    recommended = response.recommended_truncation
    return Model(
        name=summary.name,
        version=summary.version,
        architecture=summary.architecture,
        digest=summary.digest,
        class_names=tuple(response.class_names),
        recommended_truncation=(
            recommended if response.HasField("recommended_truncation") else None
        ),
        card=json.loads(response.card_json),
    )
