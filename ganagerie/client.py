"""The Python clients: `Client` for plain code, `AsyncClient` for asyncio.

Both keep one connection, put a deadline on every call, and retry when the server is unavailable:
an image is a function of its request, so asking twice does no harm.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Unpack

import grpc
import grpc.aio

from ganagerie.connection import OPTIONS, Security, connection
from ganagerie.failures import call_errors
from ganagerie.image import GeneratedImage
from ganagerie.messages import Options, to_image, to_request
from protos.v1 import ganagerie_pb2 as pb
from protos.v1 import ganagerie_pb2_grpc as pb_grpc

DEFAULT_TARGET: Final = "127.0.0.1:50051"


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
        **security: TLS and API key: see `Security`.

    Raises:
        InvalidRequest: a file cannot be read, or a value cannot be.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = 30.0,
        **security: Unpack[Security],
    ) -> None:
        self._target = target
        self._timeout_s = timeout_s
        how = connection(**security)
        self._metadata = how.metadata
        self._channel = (
            grpc.secure_channel(target, how.credentials, options=OPTIONS)
            if how.credentials
            else grpc.insecure_channel(target, options=OPTIONS)
        )
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
        with call_errors(self._target):
            response = self._images.Generate(request, **self._call(timeout_s))
        return [to_image(message) for message in response.images]

    def stream(
        self, model: str, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> Generator[GeneratedImage]:
        """As `generate`, one image at a time, in order of completion; for many images."""
        request = to_request(model, options)
        call = self._images.StreamGenerate(request, **self._call(timeout_s))
        try:
            with call_errors(self._target):
                yield from map(to_image, call)
        finally:
            call.cancel()  # type: ignore[no-untyped-call]  # the caller may have stopped early; without effect on a finished call

    def models(self) -> list[str]:
        """References, `name@version`, of all models that are being served."""
        with call_errors(self._target):
            response = self._zoo.ListModels(pb.ListModelsRequest(), **self._call())
        return [f"{model.name}@{model.version}" for model in response.models]

    def model(self, reference: str) -> Model:
        """One model, with its card.

        Raises:
            ModelNotFound: lists what there is.
            ClientError: the call failed.
        """
        with call_errors(self._target):
            request = pb.GetModelRequest(model=reference)
            return _to_model(self._zoo.GetModel(request, **self._call()))

    def _call(self, timeout_s: float | None = None) -> dict[str, Any]:
        return {"timeout": _first(timeout_s, self._timeout_s), "metadata": self._metadata}

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

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = 30.0,
        **security: Unpack[Security],
    ) -> None:
        self._target = target
        self._timeout_s = timeout_s
        how = connection(**security)
        self._metadata = how.metadata
        self._channel = (
            grpc.aio.secure_channel(target, how.credentials, options=OPTIONS)
            if how.credentials
            else grpc.aio.insecure_channel(target, options=OPTIONS)
        )
        self._images: Any = pb_grpc.ImageGenerationStub(self._channel)
        self._zoo: Any = pb_grpc.ZooStub(self._channel)

    async def generate(
        self, model: str, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> list[GeneratedImage]:
        """Makes `count` images; see `Client.generate`."""
        request = to_request(model, options)
        with call_errors(self._target):
            response = await self._images.Generate(request, **self._call(timeout_s))
        return [to_image(message) for message in response.images]

    async def stream(
        self, model: str, *, timeout_s: float | None = None, **options: Unpack[Options]
    ) -> AsyncGenerator[GeneratedImage]:
        """One image at a time; see `Client.stream`."""
        request = to_request(model, options)
        call = self._images.StreamGenerate(request, **self._call(timeout_s))
        try:
            with call_errors(self._target):
                async for message in call:
                    yield to_image(message)
        finally:
            call.cancel()  # the caller may have stopped early; without effect on a finished call

    async def models(self) -> list[str]:
        """References of all models; see `Client.models`."""
        with call_errors(self._target):
            response = await self._zoo.ListModels(pb.ListModelsRequest(), **self._call())
        return [f"{model.name}@{model.version}" for model in response.models]

    async def model(self, reference: str) -> Model:
        """One model, with its card; see `Client.model`."""
        with call_errors(self._target):
            request = pb.GetModelRequest(model=reference)
            return _to_model(await self._zoo.GetModel(request, **self._call()))

    def _call(self, timeout_s: float | None = None) -> dict[str, Any]:
        return {"timeout": _first(timeout_s, self._timeout_s), "metadata": self._metadata}

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
