"""A server that stands still where a test wants it, and calls of every method that makes images."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import pytest

from protos.v1 import ganagerie_pb2 as pb
from server.requests import Plan
from tests.gate import EncodingGate, Gate
from tests.server.calls import TIMEOUT_S, Refusal, Stubs, connect, metric, refusal, until
from tests.server.keyed_calls import KEY, OTHER, bearer
from tests.server.oip.calls import Oip, array, request, seeds
from tests.serving import Running, server_in_thread

METHODS: Final = ("Generate", "StreamGenerate", "ModelInfer")
STAGES: Final = ("queued", "computing", "encoding")
MODEL, MAX_BATCH, MAX_QUEUE_IMAGES = "letters", 8, 100
_FIRST_SEED: Final = 10**9  # of the call that holds the runner while others wait


class Call:
    """A call on its way, of any of the methods; images are RAW.

    Args:
        stubs: a connection.
        method: one of `METHODS`.
        count: images.
        seed: of the first.
        key: whose API key it carries.
        timeout_s: its deadline.
    """

    def __init__(
        self,
        stubs: Stubs,
        method: str,
        *,
        count: int = 1,
        seed: int = 0,
        key: str = KEY,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.method = method
        how: dict[str, Any] = {"timeout": timeout_s, "metadata": bearer(key)}
        asked = pb.GenerateRequest(model=MODEL, count=count, seed=seed, format=pb.IMAGE_FORMAT_RAW)
        self._call: Any
        if method == "Generate":
            self._call = stubs.images.Generate.future(asked, **how)
        elif method == "StreamGenerate":
            self._call = stubs.images.StreamGenerate(asked, **how)
        else:
            rows = request(MODEL, seeds(*range(seed, seed + count)))
            self._call = Oip(stubs).stub.ModelInfer.future(rows, **how)

    def images(self) -> list[bytes]:
        """Waits for all images; in order of their index."""
        if self.method == "Generate":
            return [image.data for image in self._call.result().images]
        if self.method == "StreamGenerate":
            return [image.data for image in sorted(self._call, key=lambda image: image.index)]
        return [image.tobytes() for image in array(self._call.result())]

    def refusal(self) -> Refusal:
        """Waits for its failure."""
        return refusal(self.images)

    def cancel(self) -> None:
        self._call.cancel()


class LiveState(NamedTuple):
    """What a server holds on to for calls that are on their way."""

    in_flight: float  # requests, by /metrics
    waiting: float  # images in the queue of any model, by /metrics
    tasks: int  # asyncio tasks on its event loop
    plans: int  # requests' plans, of all servers of this process


@dataclass
class HeldServer:
    """A server of the toy zoo with keys, one runner a model, and a gate at each stage.

    A key may have one request running, so that a place which is not given back shows at the next
    call.
    """

    running: Running
    stubs: Stubs
    computing: Gate
    encoding: EncodingGate
    _stack: ExitStack

    def call(self, method: str, **fields: Any) -> Call:
        return Call(self.stubs, method, **fields)

    @contextmanager
    def held(
        self,
        method: str,
        stage: str,
        *,
        count: int,
        seed: int,
        blocker_ends: bool = True,
        **fields: Any,
    ) -> Iterator[Call]:
        """A call that stands at `stage`, one of `STAGES`, until the end of the block.

        Of `count` images up to MAX_BATCH are there, the others wait in the queue. Queued: all of
        them wait, behind an image of somebody else's, whose call has its answer
        after the block, unless told otherwise.
        """
        before = None
        gate = self.encoding if stage == "encoding" else self.computing
        gate.close()
        try:
            if stage == "queued":
                before = self.call("Generate", seed=_FIRST_SEED, key=OTHER)
                gate.wait()
            call = self.call(method, count=count, seed=seed, **fields)
            if stage == "queued":
                until(lambda: self.waiting() == count, f"{count} images wait")
            else:
                gate.wait()
            yield call
        finally:
            gate.open()
        if before and blocker_ends:
            assert len(before.images()) == 1

    def waiting(self) -> float:
        return metric(self.running.http, "ganagerie_queue_images")

    def computed(self, seeds: Sequence[int]) -> list[int]:
        """Which of these seeds' images have been computed since the gate was closed."""
        return sorted(set(self.computing.seeds) & set(seeds))

    def code_count(self, method: str, code: str) -> float:
        return metric(self.running.http, "ganagerie_requests_total", method=method, code=code)

    def live(self) -> LiveState:
        loop = self.running.loop
        assert loop is not None
        tasks = asyncio.run_coroutine_threadsafe(_tasks(), loop).result(TIMEOUT_S)
        in_flight = metric(self.running.http, "ganagerie_requests_in_flight")
        return LiveState(in_flight, self.waiting(), tasks, live_plans())

    def settle(self) -> LiveState:
        """What is held on to after an ordinary call, and when nothing is on its way."""
        for method in METHODS:
            assert len(self.call(method).images()) == 1
        until(lambda: self.waiting() == 0, "nothing waits")
        return self.live()

    def stop(self) -> Future[None]:
        """Begins to drain, as SIGTERM does; the result is there when the server has ended."""
        ended: Future[None] = Future()

        def drain() -> None:
            try:
                self._stack.close()
                ended.set_result(None)
            except BaseException as error:  # noqa: BLE001  it belongs to who waits
                ended.set_exception(error)

        threading.Thread(target=drain, name="stopping").start()
        until(self._refuses, "new calls are refused")
        return ended

    def _refuses(self) -> bool:
        with connect(self.running.grpc) as fresh:
            try:
                Call(fresh, "Generate", timeout_s=1).images()
            except grpc.RpcError as error:
                return error.code() is grpc.StatusCode.UNAVAILABLE
        return False


async def _tasks() -> int:
    return len(asyncio.all_tasks())


def live_plans() -> int:
    """Plans of requests that something in this process still refers to."""
    gc.collect()
    return sum(type(thing) is Plan for thing in gc.get_objects())


@contextmanager
def held_server(
    zoo: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> Iterator[HeldServer]:
    computing, encoding = Gate(monkeypatch), EncodingGate(monkeypatch)
    limits: dict[str, Any] = {
        "runners": 1,
        "max_batch": MAX_BATCH,
        "max_count": MAX_QUEUE_IMAGES,
        "max_queue_images": MAX_QUEUE_IMAGES,
        "api_keys": keys,
        "max_in_flight_per_key": 1,
    }
    with ExitStack() as stack:
        running = stack.enter_context(server_in_thread(zoo, **(limits | settings)))
        with connect(running.grpc) as stubs:
            try:
                yield HeldServer(running, stubs, computing, encoding, stack)
            finally:
                computing.failure = ""
                computing.open()
                encoding.open()
