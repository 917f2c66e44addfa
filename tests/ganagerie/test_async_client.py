"""The asyncio client: beside what it shares with the other one, concurrency and cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress

import grpc.aio
import pytest

from ganagerie import AsyncClient, Client, GeneratedImage
from tests.ganagerie.conftest import metric, wait_for_empty_queue
from tests.serving import Running
from zoo.errors import InvalidRequest, ModelNotFound


def test_same_answers_as_the_other_client(toy_server: Running, client: Client) -> None:
    async def ask() -> tuple[list[str], object, list[GeneratedImage]]:
        async with AsyncClient(toy_server.grpc) as asynchronous:
            return (
                await asynchronous.models(),
                await asynchronous.model("letters"),
                await asynchronous.generate("letters", count=5, seed=1, classes="B"),
            )

    models, model, images = asyncio.run(ask())
    assert models == client.models()
    assert model == client.model("letters")
    assert images == client.generate("letters", count=5, seed=1, classes="B")


def test_many_requests_at_once_stay_apart(toy_server: Running, client: Client) -> None:
    async def ask() -> list[list[GeneratedImage]]:
        async with AsyncClient(toy_server.grpc) as asynchronous:
            calls = (asynchronous.generate("plain", count=i % 4 + 1, seed=i) for i in range(50))
            return await asyncio.gather(*calls)

    answers = asyncio.run(ask())
    wanted = {image.seed: image.data for image in client.generate("plain", count=60, seed=0)}
    for i, images in enumerate(answers):
        assert [image.seed for image in images] == list(range(i, i + i % 4 + 1))
        assert all(image.data == wanted[image.seed] for image in images)


def test_streams_at_once_yield_each_index_once(toy_server: Running) -> None:
    async def collect(client: AsyncClient, model: str) -> list[int]:
        return sorted([image.index async for image in client.stream(model, count=300)])

    async def ask() -> list[list[int]]:
        async with AsyncClient(toy_server.grpc) as client:
            models = ["plain", "letters", "colour", "plain"]
            return await asyncio.gather(*(collect(client, model) for model in models))

    assert asyncio.run(ask()) == [list(range(300))] * 4


def test_failures_leave_the_others_alone(toy_server: Running) -> None:
    async def ask() -> tuple[list[GeneratedImage] | BaseException, ...]:
        async with AsyncClient(toy_server.grpc) as client:
            return await asyncio.gather(
                client.generate("plain", count=0),
                client.generate("plain", count=2),
                client.generate("nope"),
                return_exceptions=True,
            )

    invalid, images, unknown = asyncio.run(ask())
    assert isinstance(invalid, InvalidRequest)
    assert isinstance(unknown, ModelNotFound)
    assert isinstance(images, list)
    assert [image.index for image in images] == [0, 1]


def test_unknown_model(toy_server: Running) -> None:
    async def ask() -> None:
        async with AsyncClient(toy_server.grpc) as client:
            await client.model("nope")

    with pytest.raises(ModelNotFound, match=r"^no model 'nope'\. There is: colour@1\.0\.0, "):
        asyncio.run(ask())


async def _seen_waiting(server: Running) -> None:
    while not await asyncio.to_thread(metric, server, "ganagerie_queue_images"):
        await asyncio.sleep(0.01)


async def _close_stream(client: AsyncClient, server: Running) -> None:
    async with aclosing(client.stream("slow", count=4096)) as images:
        await anext(images)
        await _seen_waiting(server)


async def _break_out_of_stream(client: AsyncClient, server: Running) -> None:
    async for _ in client.stream("slow", count=4096):
        await _seen_waiting(server)
        break


async def _cancel_stream(client: AsyncClient, server: Running) -> None:
    async def consume() -> None:
        async for _ in client.stream("slow", count=4096):
            pass

    await _cancel(asyncio.create_task(consume()), server)


async def _cancel_generate(client: AsyncClient, server: Running) -> None:
    await _cancel(asyncio.create_task(client.generate("slow", count=3500)), server)


async def _cancel(task: asyncio.Task[object], server: Running) -> None:
    await _seen_waiting(server)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def _close_client(client: AsyncClient, server: Running) -> None:
    task = asyncio.create_task(client.generate("slow", count=3500))
    await _seen_waiting(server)
    await client.close()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "stop", [_close_stream, _break_out_of_stream, _cancel_stream, _cancel_generate, _close_client]
)
def test_stopping_early_drops_what_waits(
    slow_server: Running, stop: Callable[[AsyncClient, Running], Awaitable[None]]
) -> None:
    async def run() -> None:
        async with AsyncClient(slow_server.grpc) as client:
            await stop(client, slow_server)
            await asyncio.to_thread(wait_for_empty_queue, slow_server)

    before = metric(slow_server, "ganagerie_images_total")
    asyncio.run(run())
    assert metric(slow_server, "ganagerie_images_total") - before < 3500


def test_one_deadline_does_not_end_the_others(slow_server: Running) -> None:
    async def ask() -> tuple[list[GeneratedImage] | BaseException, ...]:
        async with AsyncClient(slow_server.grpc) as client:
            return await asyncio.gather(
                client.generate("slow", count=3500, timeout_s=0.2),
                client.generate("slow", count=20),
                return_exceptions=True,
            )

    late, images = asyncio.run(ask())
    assert type(late).__name__ == "DeadlineExceeded"
    assert isinstance(images, list)
    assert len(images) == 20


def test_closed_client_takes_no_calls(toy_server: Running) -> None:
    async def ask() -> None:
        async with AsyncClient(toy_server.grpc) as client:
            await client.models()
        await client.models()

    with pytest.raises(grpc.aio.UsageError, match=r"^Channel is closed\.$"):
        asyncio.run(ask())
