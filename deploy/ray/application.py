"""The Ray Serve application: `serve run deploy/ray/serve.yaml`."""

from __future__ import annotations

from typing import Any

from ray import serve

from deploy.ray.ingress import Ingress
from deploy.ray.replica import Replica
from deploy.ray.settings import checked


def build(args: dict[str, Any]) -> serve.Application:
    """Two deployments: `Ingress`, and behind it `Replica`.

    Args:
        args: settings of `ganagerie serve`, those that make sense here: `zoo`, `max_batch` and the
            like. The environment's `GANAGERIE_<NAME>` count too, where a replica runs.

    Raises:
        ConfigError: names the settings that cannot be.
    """
    settings = {"runners": 1, **args}
    multiplexed = checked(settings).max_loaded_models > 0
    return serve.deployment(Ingress).bind(serve.deployment(Replica).bind(settings), multiplexed)
