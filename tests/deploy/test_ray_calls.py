"""The services called in process, as a Ray Serve replica does: what the wire gives, this gives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import grpc
import pytest

from deploy.ray.calls import IMAGES, ZOO, Calls, Refusal
from protos.v1 import ganagerie_pb2 as pb
from server.config import ServeConfig
from server.loading import Loader
from server.residency import Residency
from server.telemetry.telemetry import Telemetry
from tests.serving import Running
from zoo.catalog import Catalog

T = TypeVar("T")
REQUEST = pb.GenerateRequest(model="letters", count=40, seed=2**40)


def called(zoo: Path, use: Callable[[Calls], Awaitable[T]]) -> T:
    """What `use` returns, of the services of a zoo."""

    async def run() -> T:
        config, telemetry = ServeConfig(zoo=zoo), Telemetry(ServeConfig(zoo=zoo))
        residency = Residency(config, Loader(config, telemetry.batch))
        await residency.start(Catalog.open(zoo))
        try:
            return await use(Calls(residency, telemetry, config.largest_count))
        finally:
            await residency.close()

    return asyncio.run(run())


def over_the_wire(address: str, path: str, request: bytes) -> tuple[bytes, Refusal | None]:
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(path, bytes, bytes)
        try:
            return call(request), None
        except grpc.RpcError as error:
            trailing = tuple((item.key, item.value) for item in error.trailing_metadata() or ())
            return b"", Refusal(error.code(), error.details() or "", trailing)


def _bytes(answer: bytes | Refusal) -> bytes:
    assert isinstance(answer, bytes)
    return answer


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        (f"{IMAGES}Generate", REQUEST.SerializeToString()),
        (f"{ZOO}ListModels", b""),
        (f"{ZOO}GetModel", pb.GetModelRequest(model="colour").SerializeToString()),
        (f"{IMAGES}Generate", pb.GenerateRequest(model="plain", count=0).SerializeToString()),
        (f"{IMAGES}Generate", pb.GenerateRequest(model="none").SerializeToString()),
        (f"{IMAGES}Generate", b"\xff"),
        (f"{ZOO}GetModel", pb.GetModelRequest(model="none").SerializeToString()),
    ],
)
def test_answers_and_refusals_are_those_of_the_server(
    toy_zoo: Path, toy_server: Running, path: str, request_: bytes
) -> None:
    data, refusal = over_the_wire(toy_server.grpc, path, request_)
    assert called(toy_zoo, lambda calls: calls.unary(path, request_)) == (refusal or data)


def test_stream_has_the_same_images(toy_zoo: Path) -> None:
    async def stream(calls: Calls) -> list[bytes | Refusal]:
        data = REQUEST.SerializeToString()
        return [answer async for answer in calls.stream(f"{IMAGES}StreamGenerate", data)]

    async def unary(calls: Calls) -> bytes | Refusal:
        return await calls.unary(f"{IMAGES}Generate", REQUEST.SerializeToString())

    streamed = [pb.GeneratedImage.FromString(_bytes(a)) for a in called(toy_zoo, stream)]
    assert sorted(streamed, key=lambda image: image.index) == list(
        pb.GenerateResponse.FromString(_bytes(called(toy_zoo, unary))).images
    )


def test_refusal_ends_a_stream(toy_zoo: Path) -> None:
    async def stream(calls: Calls) -> list[bytes | Refusal]:
        data = pb.GenerateRequest(model="plain", count=4097).SerializeToString()
        return [answer async for answer in calls.stream(f"{IMAGES}StreamGenerate", data)]

    (refusal,) = called(toy_zoo, stream)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.text) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "count: 4097 is outside 1 to 4096",
    )
