"""Which settings of `ganagerie serve` an application takes."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError

from server.config import ServeConfig
from server.errors import ConfigError

# What Serve, or the proxy in front of it, does instead, or does not have.
NOT_HERE: Final = frozenset(
    {"host", "http_host", "port", "http_port", "gpus", "traces", "admin", "admin_keys"}
    | {"tls_cert", "tls_key", "tls_client_ca", "api_keys", "max_in_flight_per_key"}
    | {"max_request_bytes", "max_metadata_bytes", "max_streams", "max_connection_age_s"}
    | {"max_connection_age_grace_s", "min_ping_interval_s", "shutdown_delay_s", "grace_s"}
)


def checked(args: dict[str, Any]) -> ServeConfig:
    """The settings of a replica.

    Raises:
        ConfigError: names the settings that cannot be.
    """
    if misplaced := sorted(NOT_HERE & args.keys()):
        raise ConfigError(
            f"{', '.join(misplaced)}: not a setting of a Ray Serve application; leave it out "
            "(docs/ray.md says what takes its place)"
        )
    try:
        return ServeConfig(**args)
    except ValidationError as error:
        raise ConfigError(
            "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        ) from error
