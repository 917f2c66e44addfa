"""The Ray Serve application: `serve run deploy/ray/serve.yaml`."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from ray import serve

from deploy.ray.ingress import Ingress
from deploy.ray.replica import Replica
from server.config import ServeConfig
from server.errors import ConfigError

# What Serve, or the proxy in front of it, does instead, or does not have.
_NOT_HERE = frozenset(
    {"host", "http_host", "port", "http_port", "gpus", "traces", "admin", "admin_keys"}
    | {"tls_cert", "tls_key", "tls_client_ca", "api_keys", "max_in_flight_per_key"}
    | {"max_request_bytes", "max_metadata_bytes", "max_streams", "max_connection_age_s"}
    | {"max_connection_age_grace_s", "min_ping_interval_s", "shutdown_delay_s", "grace_s"}
)


def build(args: dict[str, Any]) -> serve.Application:
    """Two deployments: `Ingress`, and behind it `Replica`.

    Args:
        args: settings of `ganagerie serve`, those that make sense here: `zoo`, `max_batch` and the
            like. The environment's `GANAGERIE_<NAME>` count too, where a replica runs.

    Raises:
        ConfigError: names the settings that cannot be.
    """
    settings = {"runners": 1, **args}
    if misplaced := sorted(_NOT_HERE & settings.keys()):
        raise ConfigError(
            f"{', '.join(misplaced)}: not a setting of a Ray Serve application; leave it out "
            "(docs/ray.md says what takes its place)"
        )
    try:
        config = ServeConfig(**settings)
    except ValidationError as error:
        raise ConfigError(
            "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        ) from error
    replicas = serve.deployment(Replica).bind(settings)
    return serve.deployment(Ingress).bind(replicas, config.max_loaded_models > 0)
