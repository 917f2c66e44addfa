"""A server that can be administered, and calls with its key."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from protos.v1 import admin_pb2 as pb
from protos.v1 import admin_pb2_grpc as pb_grpc
from tests.server.calls import TIMEOUT_S, Stubs, connect
from tests.server.keyed_calls import KEYS, OTHER, bearer
from tests.serving import Running, server_in_thread
from tests.toys import write_toy

ADMIN_KEY = "staple-horse-administers"
LOADED, ON_DEMAND = pb.RESIDENCE_LOADED, pb.RESIDENCE_ON_DEMAND
FAILED, UNLOADED = pb.RESIDENCE_FAILED, pb.RESIDENCE_UNLOADED


class Admin:
    """The admin service on a channel, with a key."""

    def __init__(self, channel: grpc.Channel, key: str = ADMIN_KEY) -> None:
        self.stub: Any = pb_grpc.AdminStub(channel)
        self.metadata = bearer(key)
        self._call: Any = {"metadata": self.metadata, "timeout": TIMEOUT_S}

    def load(self, model: str) -> pb.ModelState:
        state: pb.ModelState = self.stub.LoadModel(
            pb.LoadModelRequest(model=model), **self._call
        ).model
        return state

    def unload(self, model: str) -> pb.ModelState:
        state: pb.ModelState = self.stub.UnloadModel(
            pb.UnloadModelRequest(model=model), **self._call
        ).model
        return state

    def states(self) -> dict[str, pb.ModelState]:
        found = self.stub.ListStates(pb.ListStatesRequest(), **self._call).models
        return {state.model: state for state in found}

    def residence(self) -> dict[str, Any]:
        return {name: state.residence for name, state in self.states().items()}


class Keyed(Stubs):
    """The services on one channel, with a key at each call."""

    def __init__(self, channel: grpc.Channel) -> None:
        super().__init__(grpc.intercept_channel(channel, _Keyed()))
        self.admin = Admin(channel)


class _Keyed(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[type-arg]  # generic in its stubs only
    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(_with_key(details), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(_with_key(details), request)


def _with_key(details: Any) -> Any:
    return details._replace(metadata=[*(details.metadata or ()), *bearer(OTHER)])


@contextmanager
def administered(zoo: Path, **settings: Any) -> Iterator[tuple[Running, Keyed]]:
    """A server with the admin service, and calls to it."""
    keys, admin_keys = zoo.parent / "keys", zoo.parent / "admin-keys"
    keys.write_text(KEYS)
    admin_keys.write_text(f"root {ADMIN_KEY}\n")
    secured: Any = {"api_keys": keys, "admin": True, "admin_keys": admin_keys}
    with (
        server_in_thread(zoo, **secured, **settings) as running,
        connect(running.grpc) as stubs,
    ):
        yield running, Keyed(stubs.channel)


def put(zoo: Path, name: str, *, folder: str = "", **toy: Any) -> None:
    """Writes a model outside the zoo, then puts it in, in place of one that lies there."""
    folder = folder or name
    made = zoo.parent / "made"
    write_toy(made, name, folder=folder, **toy)
    if (zoo / folder).exists():
        (zoo / folder).rename(zoo.parent / "old")
    zoo.mkdir(exist_ok=True)
    (made / folder).rename(zoo / folder)
    shutil.rmtree(zoo.parent / "old", ignore_errors=True)


def damage(zoo: Path, folder: str) -> None:
    """Cuts the end off a model's file."""
    file = zoo / folder / "generator.onnx"
    file.write_bytes(file.read_bytes()[:-1])
