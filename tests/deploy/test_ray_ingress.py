"""What the door does when replicas end, with replicas that end when they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc
import pytest

from deploy.ray.calls import Refusal
from protos.v1 import ganagerie_pb2 as pb

pytest.importorskip("ray", reason="needs Ray, which is heavy: make ray-check")

LOST = "3 replicas ended while they worked on this request; their logs may say why"


class Context:
    """What Serve's context is told."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None
        self.text = ""
        self.trailing: list[tuple[str, str | bytes]] = []

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, text: str) -> None:
        self.text = text

    def set_trailing_metadata(self, trailing: list[tuple[str, str | bytes]]) -> None:
        self.trailing = trailing


class Replicas:
    """A handle; the first `deaths` calls end after `sent` answers of a stream."""

    def __init__(self, deaths: int, answer: bytes | Refusal = b"", sent: int = 2) -> None:
        self.deaths, self.answer, self.sent = deaths, answer, sent
        self.asked: list[bytes] = []
        self.models: list[str] = []

    def options(self, multiplexed_model_id: str | None = None, stream: bool = False) -> Replicas:
        if multiplexed_model_id is not None:
            self.models.append(multiplexed_model_id)
        return self

    @property
    def unary(self) -> Any:
        return _Method(self._unary)

    @property
    def stream(self) -> Any:
        return _Method(self._stream)

    def _ends(self, data: bytes) -> bool:
        self.asked.append(data)
        return len(self.asked) <= self.deaths

    async def _unary(self, path: str, data: bytes) -> bytes | Refusal:
        if self._ends(data):
            raise _death()
        return self.answer

    async def _stream(self, path: str, data: bytes) -> AsyncGenerator[bytes | Refusal]:
        ends = self._ends(data)
        request = pb.GenerateRequest.FromString(data)
        order = range(request.count) if len(self.asked) % 2 else reversed(range(request.count))
        for n, index in enumerate(order):
            if ends and n == self.sent:
                raise _death()
            yield pb.GeneratedImage(index=index, seed=request.seed + index).SerializeToString()


class _Method:
    def __init__(self, call: Callable[..., Any]) -> None:
        self.remote = call


def _death() -> Any:
    from ray.exceptions import ActorDiedError

    return ActorDiedError()


def ingress(replicas: Replicas, *, multiplexed: bool = False) -> Any:
    from deploy.ray.ingress import Ingress

    return Ingress(replicas, multiplexed)


def streamed(replicas: Replicas, request: pb.GenerateRequest, context: Context) -> list[Any]:
    async def run() -> list[Any]:
        return [image async for image in ingress(replicas).StreamGenerate(request, context)]

    return asyncio.run(run())


def test_third_replica_may_answer() -> None:
    answer = pb.GenerateResponse(images=[pb.GeneratedImage(seed=4)])
    replicas, context = Replicas(2, answer.SerializeToString()), Context()
    assert asyncio.run(ingress(replicas).Generate(pb.GenerateRequest(), context)) == answer
    assert (len(replicas.asked), context.code) == (3, None)


def test_request_that_ends_three_replicas_is_not_given_a_fourth() -> None:
    replicas, context = Replicas(3), Context()
    asyncio.run(ingress(replicas).Generate(pb.GenerateRequest(), context))
    assert (len(replicas.asked), context.code) == (3, grpc.StatusCode.INTERNAL)
    assert context.text == LOST


@pytest.mark.parametrize("seed", [None, 70])
def test_stream_goes_on_with_what_is_missing(seed: int | None) -> None:
    replicas, context = Replicas(2), Context()
    images = streamed(replicas, pb.GenerateRequest(count=9, seed=seed), context)
    assert sorted(image.index for image in images) == list(range(9))
    assert {image.seed - image.index for image in images} == {images[0].seed - images[0].index}
    assert seed is None or images[0].seed - images[0].index == seed
    assert len({*replicas.asked}) == 1
    assert (len(replicas.asked), context.code) == (3, None)


def test_stream_that_ends_three_replicas_ends() -> None:
    replicas, context = Replicas(3), Context()
    with pytest.raises(Exception, match=f"^{LOST}$"):
        streamed(replicas, pb.GenerateRequest(count=9), context)
    assert (len(replicas.asked), context.code, context.text) == (3, grpc.StatusCode.INTERNAL, LOST)


def test_refusal_reaches_the_client_whole() -> None:
    refusal = Refusal(grpc.StatusCode.NOT_FOUND, "no such", (("key-bin", b"\1"),))
    context = Context()
    asyncio.run(ingress(Replicas(0, refusal)).GetModel(pb.GetModelRequest(), context))
    assert (context.code, context.text) == (grpc.StatusCode.NOT_FOUND, "no such")
    assert context.trailing == [("key-bin", b"\1")]


@pytest.mark.parametrize(("multiplexed", "asked"), [(False, ""), (True, "letters")])
def test_replicas_with_the_model_are_preferred_where_not_all_have_it(
    multiplexed: bool, asked: str
) -> None:
    replicas = Replicas(0)
    door = ingress(replicas, multiplexed=multiplexed)
    asyncio.run(door.Generate(pb.GenerateRequest(model="letters"), Context()))
    asyncio.run(door.ListModels(pb.ListModelsRequest(), Context()))
    assert replicas.models == [asked, ""]
