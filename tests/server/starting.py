"""A server whose start and end a test decides on."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from server.app import App
from server.config import ServeConfig
from tests.server.calls import TIMEOUT_S, until
from zoo.generator import Generator, load_generator


class Starting:
    """A server that loads its models only when told to."""

    def __init__(self, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._may_load, self._loaded, self._stop = (threading.Event() for _ in range(3))

        def load_when_told(*arguments: Any) -> Generator:
            assert self._may_load.wait(TIMEOUT_S)
            return load_generator(*arguments)

        monkeypatch.setattr("server.loading.load_generator", load_when_told)
        port, http_port = _free_port(), _free_port()
        self.grpc, self.http = f"127.0.0.1:{port}", f"127.0.0.1:{http_port}"
        config = ServeConfig(zoo=zoo, port=port, http_port=http_port)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live(config)))
        self._thread.start()
        until(lambda: _listens(port) and _listens(http_port), "listening")

    async def _live(self, config: ServeConfig) -> None:
        app = App(config)
        await app.start()
        self._loaded.set()
        await asyncio.to_thread(self._stop.wait, TIMEOUT_S)
        await app.drain()

    def load(self) -> None:
        self._may_load.set()
        assert self._loaded.wait(TIMEOUT_S)

    def begin_to_stop(self) -> None:
        self._may_load.set()
        self._stop.set()

    def stop(self) -> None:
        self.begin_to_stop()
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
