"""The composition root: starts everything, drains it, stops it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import time

import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from protos.inference.v2 import open_inference_pb2 as oip_pb
from protos.inference.v2 import open_inference_pb2_grpc as oip_grpc
from protos.v1 import admin_pb2 as admin_pb
from protos.v1 import admin_pb2_grpc as admin_grpc
from protos.v1 import ganagerie_pb2 as pb
from protos.v1 import ganagerie_pb2_grpc as pb_grpc
from server import memory
from server.admin import AdminService
from server.config import ServeConfig, misspelt_settings
from server.errors import BindError
from server.health import HealthService
from server.http.probes import HttpServer, listen, probes_app
from server.interceptors import ErrorInterceptor
from server.limits import server_options
from server.loading import Loader
from server.oip.service import OpenInferenceService
from server.residency import Residency
from server.roster import State
from server.security import Security
from server.service import ImageGenerationService, ZooService
from server.telemetry.logs import configure_logging
from server.telemetry.telemetry import Telemetry
from server.watching import ZooWatcher
from zoo.catalog import Catalog
from zoo.errors import ZooError
from zoo.runtime import load_runtime

# A runner that comes back from onnxruntime wants the GIL at once: at Python's 5 ms it waits while
# the event loop answers, and a core is idle (docs/log.md has the figures).
_SWITCH_INTERVAL_S = 1e-4

_log = structlog.get_logger()


class App:
    """One server. `start`, then `drain`; each once.

    Raises:
        ConfigError: traces cannot be had.
        CredentialsError: a file for TLS, or of API keys, cannot be used.

    Attributes:
        grpc_address: `HOST:PORT`, with the port that was taken; set by `start`.
        http_address: likewise.
        residency: the models.
    """

    grpc_address: str
    http_address: str

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._telemetry = Telemetry(config)
        self._security = Security(config, self._telemetry)
        self.residency = Residency(config, Loader(config, self._telemetry.batch))
        self._telemetry.watch(self.residency)
        self._tasks: set[asyncio.Task[None]] = set()
        self._http_host = config.http_host or config.host
        self._serving = False
        files = [pb.DESCRIPTOR, oip_pb.DESCRIPTOR, *([admin_pb.DESCRIPTOR] if config.admin else [])]
        self._services = [s.full_name for file in files for s in file.services_by_name.values()]
        self._health = HealthService(self._services)
        self._grpc = grpc.aio.server(
            interceptors=[*self._security.interceptors, ErrorInterceptor(self._telemetry)],
            options=server_options(config),
        )
        self._http = HttpServer(probes_app(lambda: self._serving, self._telemetry.registry))

    async def start(self) -> None:
        """Listens, then loads every model; health says SERVING only after that.

        Raises:
            BackendError: onnxruntime is not installed.
            ZooError: the zoo cannot be read, or none of its models can be loaded.
            BindError: a port is taken.
        """
        started_s = time.perf_counter()
        load_runtime()
        self._watcher = ZooWatcher(self._config.zoo, self.residency)
        catalog = Catalog.open(self._config.zoo)
        self._register_services()
        port, http_socket = self._bind()
        await self._grpc.start()
        self._security.watch()
        self._http_task = asyncio.create_task(self._http.serve([http_socket]))
        try:
            await self.residency.start(catalog)
            self.residency.roster.require_models(self._config.zoo)
        except (ZooError, asyncio.CancelledError):
            await self._stop(grace_s=0)
            raise
        if self._config.watch:
            looking = self._watcher.watch(self._config.watch_interval_s)
            self._tasks.add(asyncio.create_task(looking))
        self._health.set_serving(True)
        self._serving = True
        self.grpc_address = _address(self._config.host, port)
        self.http_address = _address(self._http_host, http_socket.getsockname()[1])
        _log.info(
            "serving",
            grpc=self.grpc_address,
            http=self.http_address,
            models={
                model.reference: model.resident.generator.provider if model.resident else None
                for model in self.residency.roster
                if model.state in {State.LOADED, State.COLD}
            },
            startup_s=round(time.perf_counter() - started_s, 3),
        )
        self._security.warn(self.grpc_address)

    def rescan(self) -> None:
        """Looks at the zoo folder soon, also without `--watch`; not while it starts or stops."""
        if not self._serving:
            return
        task = asyncio.create_task(self._watcher.look())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Says that it stops, serves for the delay, finishes what runs within the grace; stops."""
        self._serving = False
        self._health.set_serving(False)
        if self._config.shutdown_delay_s:
            _log.info("still serving", shutdown_delay_s=self._config.shutdown_delay_s)
            await asyncio.sleep(self._config.shutdown_delay_s)
        _log.info("draining", grace_s=self._config.grace_s)
        await self._stop(self._config.grace_s)
        _log.info("stopped")

    async def _stop(self, grace_s: float) -> None:
        self._health.stop()
        self._security.stop()
        for task in self._tasks:
            task.cancel()
        await self._grpc.stop(grace_s)
        self._http.should_exit = True
        await self._http_task
        await self.residency.close()
        await self._telemetry.close()

    def _register_services(self) -> None:
        pb_grpc.add_ImageGenerationServicer_to_server(
            ImageGenerationService(self.residency, self._config.largest_count), self._grpc
        )
        pb_grpc.add_ZooServicer_to_server(ZooService(self.residency), self._grpc)
        oip_grpc.add_GRPCInferenceServiceServicer_to_server(
            OpenInferenceService(self.residency, self._config, lambda: self._serving), self._grpc
        )
        if self._config.admin:
            admin_grpc.add_AdminServicer_to_server(AdminService(self.residency), self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection(
            [*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME], self._grpc
        )

    def _bind(self) -> tuple[int, socket.socket]:
        config = self._config
        address = _address(config.host, config.port)
        try:
            # gRPC would write a line of its own about a port that is taken: find out before.
            listen(config.host, config.port).close()
            port = self._security.add_port(self._grpc, address)
        except (OSError, RuntimeError) as error:
            raise BindError(_taken("--port", address)) from error
        try:
            return port, listen(self._http_host, config.http_port)
        except OSError as error:
            address = _address(self._http_host, config.http_port)
            host_flag = "--http-host" if config.http_host else "--host"
            raise BindError(_taken("--http-port", address, host_flag)) from error


async def serve(config: ServeConfig) -> None:
    """Serves until SIGINT or SIGTERM, then drains; a second signal exits at once.

    One that comes during the start ends it. SIGHUP looks at the zoo folder.

    Raises:
        GanagerieError: what `App.start` raises.
    """
    configure_logging(config.log_format)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    memory.return_large_blocks()
    for name, meant in misspelt_settings().items():
        _log.warning("environment variable is not a setting", name=name, did_you_mean=meant)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    app = App(config)
    loop.add_signal_handler(signal.SIGHUP, app.rescan)
    stopping = asyncio.create_task(stop.wait())
    starting = asyncio.create_task(app.start())
    await asyncio.wait({stopping, starting}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        _log.info("stopping before the start was over")
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return
    await starting
    gc.collect()
    gc.freeze()  # what has been loaded is here to stay: later collections pass over it
    await stopping
    await app.drain()


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _taken(flag: str, address: str, host_flag: str = "--host") -> str:
    return (
        f"cannot listen on {address}: it is in use, or not an address of this machine; "
        f"choose another with {flag} (0 takes a free port) or {host_flag}"
    )
