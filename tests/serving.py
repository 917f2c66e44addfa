"""A real server on free ports: in a thread, or in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.app import App
from server.config import ServeConfig


@dataclass(frozen=True)
class Running:
    """Where a server listens: `HOST:PORT` each; `app` and `loop` are None for a process."""

    grpc: str
    http: str
    app: App | None = None
    loop: asyncio.AbstractEventLoop | None = None
    process: subprocess.Popen[str] | None = None


@contextmanager
def server_in_thread(zoo: Path, **settings: Any) -> Iterator[Running]:
    """Serves `zoo` from this process; drained on leaving."""
    config = ServeConfig(zoo=zoo, port=0, http_port=0, **settings)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server")
    thread.start()
    try:
        app = asyncio.run_coroutine_threadsafe(_start(config), loop).result(30)
        try:
            yield Running(app.grpc_address, app.http_address, app=app, loop=loop)
        finally:
            asyncio.run_coroutine_threadsafe(app.drain(), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(config: ServeConfig) -> App:
    app = App(config)
    await app.start()
    return app


@contextmanager
def server_process(
    zoo: Path | None = None, *arguments: str, module: str = "ganagerie.cli"
) -> Iterator[Running]:
    """Runs `ganagerie serve` on free ports; killed on leaving if it has not ended by then.

    `module` is run in place of the command, for a server that has been tampered with.
    """
    command = [sys.executable, "-m", module, "serve", "--port", "0", "--http-port", "0"]
    command += ["--log-format", "json", *arguments]
    if zoo is not None:
        command += ["--zoo", str(zoo)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stderr is not None
    try:
        for line in process.stderr:
            event = json.loads(line)
            if event.get("event") == "serving":
                break
        else:
            raise AssertionError(f"the server ended with code {process.wait()}")
        yield Running(event["grpc"], event["http"], process=process)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
