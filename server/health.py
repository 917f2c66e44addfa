"""`grpc.health.v1`: one state for the server and its services, told to everybody who watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc as pb_grpc


class HealthService(pb_grpc.HealthServicer):  # type: ignore[misc]  # its base has no types
    """Answers for the names given and for "", the server as a whole.

    Watchers hear of every change independently of one another, and their streams end when the
    server stops, so that none of them holds up the drain (see docs/decisions/0006).
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset({"", *services})
        self._serving = False
        self._stopped = False
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        """Tells watchers; no effect after `stop`."""
        self._serving = serving and not self._stopped
        self._notify()

    def stop(self) -> None:
        """NOT_SERVING for good; watchers hear it, then their streams end."""
        self._serving, self._stopped = False, True
        self._notify()

    async def Check(self, request: pb.HealthCheckRequest, context: Any) -> pb.HealthCheckResponse:
        """The state now; NOT_FOUND for a name that the server does not know."""
        if request.service not in self._services:
            known = ", ".join(repr(name) for name in sorted(self._services))
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service; known: {known}")
        return self._state(request.service)

    async def Watch(
        self, request: pb.HealthCheckRequest, context: Any
    ) -> AsyncIterator[pb.HealthCheckResponse]:
        """The state now and whenever it changes; SERVICE_UNKNOWN for an unknown name."""
        told = None
        while True:
            changed, state = self._changed, self._state(request.service)
            if state != told:
                yield state
                told = state
            elif self._stopped:
                return
            else:
                await changed.wait()

    def _state(self, service: str) -> pb.HealthCheckResponse:
        if service not in self._services:
            return pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVICE_UNKNOWN)
        if self._serving:
            return pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVING)
        return pb.HealthCheckResponse(status=pb.HealthCheckResponse.NOT_SERVING)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
