"""How the gRPC port is protected: TLS, keys, and a warning where it is not."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import grpc.aio
import structlog

from server.access import AccessInterceptor
from server.api_keys import ApiKeys
from server.config import ServeConfig
from server.telemetry.telemetry import Telemetry
from server.tls import Tls, TlsFiles

_log = structlog.get_logger()


class Security:
    """What the configuration asks for; nothing, and at no cost, unless it does.

    Raises:
        CredentialsError: a file cannot be used.
    """

    def __init__(self, config: ServeConfig, telemetry: Telemetry) -> None:
        self._config = config
        self._tasks: list[asyncio.Task[None]] = []
        self._tls = self._keys = self._admin_keys = None
        if config.tls_cert and config.tls_key:
            self._tls = Tls(TlsFiles(config.tls_cert, config.tls_key, config.tls_client_ca))
        if config.api_keys:
            self._keys = ApiKeys(config.api_keys)
        if config.admin_keys:
            self._admin_keys = ApiKeys(config.admin_keys)
        self.interceptors: list[Any] = []
        if self._keys:
            limit = config.max_in_flight_per_key
            access = AccessInterceptor(self._keys, self._admin_keys, limit, telemetry)
            self.interceptors.append(access)

    def add_port(self, server: grpc.aio.Server, address: str) -> int:
        """Listens, with TLS if there is any; returns the port."""
        if self._tls:
            return server.add_secure_port(address, self._tls.credentials)
        return server.add_insecure_port(address)

    def watch(self) -> None:
        """From now on, changed files are read again."""
        for part in (self._tls, self._keys, self._admin_keys):
            if part:
                self._tasks.append(asyncio.create_task(part.files.watch()))

    def stop(self) -> None:
        """Looks at files no more."""
        for task in self._tasks:
            task.cancel()

    def warn(self, address: str) -> None:
        """Says so, once, where other machines can call and something is missing."""
        config = self._config
        if is_loopback(config.host):
            return
        missing = {}
        if not self._tls:
            missing["anybody on the way can read and change what is sent"] = (
                "--tls-cert and --tls-key"
            )
        if not self._keys and not config.tls_client_ca:
            missing["anybody who reaches the port can call"] = "--api-keys, or --tls-client-ca"
        if missing:
            _log.warning(
                "THE PORT IS OPEN TO OTHER MACHINES: " + "; ".join(missing),
                grpc=address,
                add=" and ".join(missing.values()),
            )


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name: who knows
        return False
