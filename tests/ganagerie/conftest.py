"""What the tests of the clients and of the CLI share."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

import server.app
from ganagerie import AsyncClient, Client, GeneratedImage
from ganagerie.cli import main
from protos.v1 import ganagerie_pb2 as pb
from protos.v1 import ganagerie_pb2_grpc as pb_grpc
from server.config import ServeConfig
from tests.gate import Gate
from tests.server.calls import metric as read_metric
from tests.serving import Running, server_in_thread
from tests.toys import write_toy

Call = Callable[..., list[GeneratedImage]]
"""call(target, model, client_timeout_s=..., **options): one request through one of the doors."""

Behaviour = Callable[[int, grpc.ServicerContext], Iterator[pb.GeneratedImage]]
"""What a scripted server does at attempt 1, 2, …"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended; escape sequences are taken out of the texts."""

    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs `ganagerie ARGUMENTS` in this process."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["ganagerie", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = (re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text) for text in capsys.readouterr())
        assert isinstance(ended.value.code, int)
        return Outcome(ended.value.code, out, err)

    return run


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServeConfig]:
    """The configurations that would have been served."""
    configs: list[ServeConfig] = []

    async def serve(config: ServeConfig) -> None:
        configs.append(config)

    monkeypatch.setattr(server.app, "serve", serve)
    return configs


@pytest.fixture
def client(toy_server: Running) -> Iterator[Client]:
    with Client(toy_server.grpc) as client:
        yield client


def _generate(target: str, model: str, client_timeout_s: float, **options: Any) -> Any:
    with Client(target, timeout_s=client_timeout_s) as client:
        return client.generate(model, **options)


def _stream(target: str, model: str, client_timeout_s: float, **options: Any) -> Any:
    with Client(target, timeout_s=client_timeout_s) as client:
        return sorted(client.stream(model, **options), key=lambda image: image.index)


def _generate_async(target: str, model: str, client_timeout_s: float, **options: Any) -> Any:
    async def run() -> list[GeneratedImage]:
        async with AsyncClient(target, timeout_s=client_timeout_s) as client:
            return await client.generate(model, **options)

    return asyncio.run(run())


def _stream_async(target: str, model: str, client_timeout_s: float, **options: Any) -> Any:
    async def run() -> list[GeneratedImage]:
        async with AsyncClient(target, timeout_s=client_timeout_s) as client:
            images = [image async for image in client.stream(model, **options)]
        return sorted(images, key=lambda image: image.index)

    return asyncio.run(run())


_DOORS = {
    "generate": _generate,
    "stream": _stream,
    "async generate": _generate_async,
    "async stream": _stream_async,
}


@pytest.fixture(params=list(_DOORS))
def call(request: pytest.FixtureRequest) -> Call:
    """Each of the four ways to ask for images."""
    door = _DOORS[request.param]

    def through_door(
        target: str, model: str, *, client_timeout_s: float = 30.0, **options: Any
    ) -> list[GeneratedImage]:
        images: list[GeneratedImage] = door(target, model, client_timeout_s, **options)
        return images

    return through_door


class Scripted(pb_grpc.ImageGenerationServicer):
    """A server that does as it is told and counts how often it is asked."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.attempts = 0
        self.target = ""
        self._behaviour = behaviour

    def Generate(self, request: Any, context: Any) -> pb.GenerateResponse:  # noqa: N802  the protocol's
        return pb.GenerateResponse(images=list(self.StreamGenerate(request, context)))

    def StreamGenerate(self, request: Any, context: Any) -> Iterator[pb.GeneratedImage]:  # noqa: N802
        self.attempts += 1
        yield from self._behaviour(self.attempts, context)


@pytest.fixture
def scripted() -> Iterator[Callable[[Behaviour], Scripted]]:
    """Starts scripted servers."""
    servers = []

    def start(behaviour: Behaviour) -> Scripted:
        servicer = Scripted(behaviour)
        server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_ImageGenerationServicer_to_server(servicer, server)
        servicer.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        servers.append(server)
        return servicer

    yield start
    for running in servers:
        running.stop(None).wait(10)


def answers(size: int = 4) -> Behaviour:
    def behaviour(_: int, __: grpc.ServicerContext) -> Iterator[pb.GeneratedImage]:
        yield pb.GeneratedImage(data=b"\0" * size, seed=9, format=pb.IMAGE_FORMAT_RAW)

    return behaviour


def fails(times: int, code: grpc.StatusCode) -> Behaviour:
    """Fails so many times, then answers."""

    def behaviour(attempt: int, context: grpc.ServicerContext) -> Iterator[pb.GeneratedImage]:
        if attempt <= times:
            context.abort(code, f"attempt {attempt}")
        return answers()(attempt, context)

    return behaviour


def hangs(_: int, context: grpc.ServicerContext) -> Iterator[pb.GeneratedImage]:
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(10)
    return iter(())


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens, and nobody will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="session")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that takes seconds for some thousand images of `slow`, two at a time."""
    zoo = tmp_path_factory.mktemp("slow")
    write_toy(zoo, "slow", hidden=2048)
    with server_in_thread(zoo, runners=1, max_batch=2) as running:
        yield running


@pytest.fixture
def busy_server(toy_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server that is held up, with two images of `letters` waiting and room for two more."""
    gate = Gate(monkeypatch)
    limits = {"runners": 1, "max_batch": 2, "max_queue_images": 4}
    with server_in_thread(toy_zoo, **limits) as running, Client(running.grpc) as other:
        gate.close()
        caller = threading.Thread(target=other.generate, args=("letters",), kwargs={"count": 4})
        caller.start()
        gate.wait()  # two of the four are with the runner now
        yield running
        gate.open()
        caller.join()


def metric(running: Running, name: str) -> float:
    """One figure of /metrics, over all models."""
    return read_metric(running.http, name)


def wait_for_empty_queue(running: Running) -> None:
    until_s = time.monotonic() + 5
    while metric(running, "ganagerie_queue_images"):
        assert time.monotonic() < until_s
        time.sleep(0.01)
