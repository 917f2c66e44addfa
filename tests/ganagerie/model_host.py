"""An HTTP server of a folder, which knows ranges and can be told to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Host:
    """What is served, how, and what was asked for.

    Attributes:
        folder: that is served.
        ranges: whether it answers them.
        break_off: bytes after which an answer with a body ends; None for never.
        redirects: where a path leads to.
        asked: method, path and range of each request.
        free: while it is not set, nobody is told of an ONNX file.
    """

    folder: Path
    url: str = ""
    ranges: bool = True
    break_off: int | None = None
    redirects: dict[str, str] = field(default_factory=dict)
    failing: bool = False
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    free: threading.Event = field(default_factory=threading.Event)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that goes away is none."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, host: Host, *arguments: object) -> None:
        self._host = host
        super().__init__(*arguments)  # type: ignore[arg-type]  # the server's

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        host, asked = self._host, self.headers.get("Range")
        host.asked.append((self.command, self.path, asked))
        if self.path.endswith(".onnx"):
            host.free.wait()
        path = host.folder / self.path.lstrip("/")
        if host.failing:
            self._end(500)
        elif self.path in host.redirects:
            self._end(302, Location=host.redirects[self.path])
        elif not path.is_file():
            self._end(404)
        else:
            content, size = path.read_bytes(), path.stat().st_size
            headers = {"Accept-Ranges": "bytes"} if host.ranges else {}
            status = 200
            if asked is not None and host.ranges:
                first, last = asked.removeprefix("bytes=").split("-")
                content = content[int(first) : int(last or size) + 1]
                headers["Content-Range"] = f"bytes {first}-{int(first) + len(content) - 1}/{size}"
                status = 206
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body:
                self.wfile.write(content[: host.break_off])
            if with_body and host.break_off is not None:
                self.close_connection = True

    def _end(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def model_host(folder: Path) -> Iterator[Host]:
    """Serves a folder on a free port of 127.0.0.1."""
    host = Host(folder)
    host.free.set()
    server = _Server(("127.0.0.1", 0), partial(_Handler, host))
    host.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield host
    finally:
        host.free.set()
        server.shutdown()
        server.server_close()
        thread.join()
