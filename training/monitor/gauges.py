"""A tick's numbers by stable names, for TensorBoard and Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_BY_LAYER = ("gradient", "update")
_PLAIN = ("proxy_fid", "proxy_fid_real", "fid", "monitor_s")
_GROUPS = ("diversity", "accuracy", "nonfinite")


def scalars(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Names and values: `sigma0/G/linear`, `gradient/D/linear`, `monitor/diversity/within`.

    Losses and logits are left out: a run's metrics have them already.
    """
    for network in ("G", "D"):
        for layer, values in record.get(network, {}).items():
            for i, value in enumerate(values):
                if value is not None:
                    yield f"sigma{i}/{network}/{layer}", value
    for kind in _BY_LAYER:
        for network, layers in record.get(kind, {}).items():
            for layer, value in layers.items():
                if value is not None:
                    yield f"{kind}/{network}/{layer}", value
    for group in _GROUPS:
        for name, value in record.get(group, {}).items():
            if value is not None:
                yield f"monitor/{group}/{name}", value
    for name in _PLAIN:
        if record.get(name) is not None:
            yield f"monitor/{name}", record[name]
