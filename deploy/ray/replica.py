"""A replica: the models, batchers and services of one ordinary server, without its ports."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

from ray import serve

from deploy.ray.calls import Calls, Refusal
from server.config import ServeConfig
from server.loading import Loader
from server.residency import Residency
from server.telemetry.logs import configure_logging
from server.telemetry.telemetry import Telemetry
from server.watching import ZooWatcher
from zoo.catalog import Catalog
from zoo.errors import GanagerieError
from zoo.runtime import load_runtime

_NO_LIMIT: Final = -1  # as Serve writes it


class Replica:
    """Serve makes as many as its autoscaling says, each with a CPU or GPU of its own.

    Args:
        settings: those of `ServeConfig` that differ from the default.

    Raises:
        BackendError: onnxruntime is not installed.
        ZooError: the zoo cannot be read, or none of its models can be loaded.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        config = ServeConfig(**settings)
        configure_logging(config.log_format)
        self._config = config
        self._telemetry = Telemetry(config)
        self._residency = Residency(config, Loader(config, self._telemetry.batch))
        self._calls = Calls(self._residency, self._telemetry, config.largest_count)
        self._starting = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._announce = _announcer(self._residency, config.max_loaded_models or _NO_LIMIT)

    async def check_health(self) -> None:
        """Loads the models there is room for, at the first check: Serve waits for that one."""
        async with self._starting:
            roster = self._residency.roster
            if roster.ready:
                return
            load_runtime()
            watcher = ZooWatcher(self._config.zoo, self._residency)
            await self._residency.start(Catalog.open(self._config.zoo))
            roster.require_models(self._config.zoo)
            if self._config.watch:
                looking = watcher.watch(self._config.watch_interval_s)
                self._watching = asyncio.create_task(looking)

    async def unary(self, path: str, request: bytes) -> bytes | Refusal:
        """Calls a method that has one answer."""
        await self._prefer()
        return await self._calls.unary(path, request)

    async def stream(self, path: str, request: bytes) -> AsyncGenerator[bytes | Refusal]:
        """Calls a method that has any number of answers; a refusal is the last."""
        await self._prefer()
        async with aclosing(self._calls.stream(path, request)) as answers:
            async for answer in answers:
                yield answer

    async def _prefer(self) -> None:
        if model := serve.get_multiplexed_model_id():
            with contextlib.suppress(GanagerieError):  # the call itself says it better
                self._residency.roster.find(model)
                await self._announce(model)

    async def __del__(self) -> None:  # Serve awaits it when the replica is to go
        if self._watching is not None:
            self._watching.cancel()
        await self._residency.close()


def _announcer(residency: Residency, limit: int) -> Callable[[str], Awaitable[str]]:
    """Has Serve learn which models are in memory, so that it prefers replicas that have one.

    Which those are is the residency's decision, here as in any server; of as many as Serve counts.
    """

    async def enter(model: str) -> str:
        await residency.resolve(model)
        return model

    announce: Callable[[str], Awaitable[str]] = serve.multiplexed(max_num_models_per_replica=limit)(
        enter
    )
    return announce
