"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_SHUTDOWN_S: Final = 1  # for answers under way; a client that does not read would take for ever


def probes_app(is_ready: Callable[[], bool], registry: CollectorRegistry) -> Starlette:
    """The application.

    Args:
        is_ready: whether requests are answered now.
        registry: the metrics.
    """

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        if is_ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready"}, status_code=503)

    def metrics(request: Request) -> Response:  # not async: it runs in a thread
        try:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
        except (TypeError, ValueError):  # for a version that is no number
            encode, content_type = choose_encoder("")
        return Response(encode(registry), headers={"content-type": content_type})

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
        ]
    )


class HttpServer(uvicorn.Server):
    """uvicorn as a guest in our event loop: signals are the host's."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="error",  # it warns of each bad request, and anybody may send them
                access_log=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=_SHUTDOWN_S,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Gives up those whose client does not read, which is no error of ours."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signal handlers alone."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. `::` is all addresses of IPv4 too.

    Raises:
        OSError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()  # as gRPC has it
    return socket.create_server((host, port), family=family, backlog=128, dualstack_ipv6=both)
