"""Metrics always, traces where they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server.config import ServeConfig
from server.errors import ConfigError
from server.telemetry.calls import Call
from server.telemetry.metrics import Metrics
from server.telemetry.state import ServerState
from zoo.errors import one_line

if TYPE_CHECKING:  # what is off is never imported
    from server.residency import Residency
    from server.telemetry.tracing import Tracer


class Telemetry:
    """What one server tells about itself.

    Raises:
        ConfigError: traces cannot be had: the extra is not installed, or a variable cannot be.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.metrics = Metrics()
        self.registry = self.metrics.registry
        self.batch = self.metrics.batch
        self._tracer = None if config.traces == "off" else _tracer()

    def call(self, path: str, context: Any) -> Call:
        """A call that begins: enter it, and leave it when it ends."""
        tracer = self._tracer
        trace = None if tracer is None else tracer.start(path, context.invocation_metadata())
        return Call(self.metrics, path, context, trace)

    def watch(self, residency: Residency) -> None:
        """From now on metrics tell of these models and their queues."""
        residency.on_load = self.metrics.load
        self.registry.register(ServerState(residency))

    async def close(self) -> None:
        """Sends the traces that are left, for a bounded time."""
        if self._tracer is not None:
            await self._tracer.close()


def _tracer() -> Tracer:
    try:
        from server.telemetry.tracing import Tracer
    except ImportError as error:
        raise ConfigError(
            f"traces otlp needs OpenTelemetry, which is not there ({one_line(error)}): "
            "pip install 'ganagerie[otel]', or leave traces off"
        ) from error
    return Tracer()
