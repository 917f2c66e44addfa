"""A run's newest numbers for Prometheus, at `http://HOST:PORT/metrics`.

Every name begins with `ganagerie_training_`; docs/monitor.md lists them. What is not known yet is
not there, or NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from training.errors import RunError
from training.monitor.verdict import Health, Verdict
from zoo.errors import one_line

_PREFIX = "ganagerie_training_"
_NETWORKS = ("G", "D")


class TrainingGauges:
    """Answers Prometheus while entered.

    Args:
        port: 0 takes any free one, which `port` then is.
        host: address to listen on.

    Raises:
        RunError: on entering, the port or the address cannot be had.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.port = port
        self._host = host
        self._registry = CollectorRegistry()
        self._iteration = self._gauge("iteration", "The newest iteration, an update of G.")
        self._images_seen = self._gauge("images_seen", "Real images that D has seen.")
        self._images_per_s = self._gauge("images_per_second", "Speed since the last reading.")
        self._loss = self._gauge("loss", "Loss of a network.", "network")
        self._logit = self._gauge("logit", "Mean of D's logits.", "images")
        self._quality = {
            "proxy_fid": self._gauge("proxy_fid", "Distance of samples to real images."),
            "proxy_fid_real": self._gauge("proxy_fid_real", "The same of as many real images."),
        }
        self._diversity = self._gauge("diversity", "Spread of samples, 1 as real ones'.", "kind")
        self._accuracy = self._gauge("accuracy", "Share that D judges rightly.", "images")
        self._sigma0 = self._gauge("sigma0", "Largest singular value.", "network", "layer")
        self._verdict = self._gauge("verdict", "1 for the monitor's verdict.", "health")
        self._monitor_s = self._gauge("monitor_seconds", "What the monitor's last tick took.")

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        gauge = Gauge(_PREFIX + name, meaning, labels, registry=self._registry)
        if not labels:
            gauge.set(math.nan)
        return gauge

    def __enter__(self) -> TrainingGauges:
        try:
            self._server, self._thread = start_http_server(self.port, self._host, self._registry)
        except OSError as error:
            raise RunError(
                f"--metrics-port {self.port}: cannot listen on {self._host}:{self.port}: "
                f"{error.strerror or one_line(error)}; name another port, or 0 for any free one"
            ) from error
        self.port = self._server.server_port
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def metrics(self, record: Mapping[str, Any]) -> None:
        """Takes over a line of `metrics.jsonl`."""
        self._iteration.set(record["itr"])
        self._images_seen.set(record["images_seen"])
        self._images_per_s.set(record["images_per_s"])
        _set(self._loss, {name.upper(): value for name, value in record["loss"].items()})
        _set(self._logit, record["logits"])

    def spectra(self, record: Mapping[str, Any], verdict: Verdict) -> None:
        """Takes over a tick of the monitor."""
        self._iteration.set(record["itr"])
        for network in _NETWORKS:
            for layer, values in record.get(network, {}).items():
                self._sigma0.labels(network, layer).set(_number(values[0]))
        _set(self._diversity, record.get("diversity", {}))
        _set(self._accuracy, record.get("accuracy", {}))
        for name, gauge in self._quality.items():
            if name in record:
                gauge.set(_number(record[name]))
        for health in Health:
            self._verdict.labels(health.value).set(float(health is verdict.health))
        self._monitor_s.set(record["monitor_s"])


def _set(gauge: Gauge, values: Mapping[str, float | None]) -> None:
    for label, value in values.items():
        gauge.labels(label).set(_number(value))


def _number(value: float | None) -> float:
    """A record has None where there is no finite number."""
    return math.nan if value is None else value
