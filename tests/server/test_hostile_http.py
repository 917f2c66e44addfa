"""Clients of the HTTP port that mean no good: it is open to whoever can reach it."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from server.app import App
from server.config import ServeConfig
from tests.server.busy import TIMEOUT_S, in_event_loop, until
from tests.server.calls import fetch
from tests.serving import Running

METRICS = b"GET /metrics HTTP/1.1\r\nHost: server\r\n\r\n"
MANY = 2000  # answers: tens of MB, more than the system holds for who does not read


@in_event_loop
async def test_a_client_that_never_reads_does_not_hold_up_the_end(
    toy_zoo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(ServeConfig(zoo=toy_zoo, port=0, http_port=0))
    await app.start()
    open_connections: set[Any] = app._http.server_state.connections
    host, port = app.http_address.split(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(TIMEOUT_S)
        await asyncio.to_thread(client.connect, (host, int(port)))
        await asyncio.to_thread(client.sendall, METRICS * MANY)
        await until(lambda: any(c.flow.write_paused for c in open_connections))
        await asyncio.wait_for(app.drain(), TIMEOUT_S)
        assert open_connections
    await until(lambda: not open_connections)
    assert [r.getMessage() for r in caplog.records if r.name.startswith("uvicorn")] == []


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_nobody_fills_the_log_by_http(
    toy_server: Running, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = toy_server.http.split(":")
    with caplog.at_level(logging.DEBUG), socket.create_connection((host, int(port))) as client:
        client.settimeout(TIMEOUT_S)
        client.sendall(request_)
        assert client.recv(4096).startswith(b"HTTP/1.1 ")
        assert fetch(toy_server.http, "/healthz")[0] == 200
    assert [r.getMessage() for r in caplog.records if r.name.startswith("uvicorn")] == []
