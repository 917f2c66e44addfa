"""What operators see: structured logs and Prometheus metrics."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from server.batch import BatchTimes
from zoo.card import Card

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def configure_logging(log_format: str) -> None:
    """Logs to stderr: for people on a terminal, else one JSON object a line.

    Everything goes through `logging`, whose handler survives a stderr that nobody reads any more.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    renderer = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared)
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("server").setLevel(logging.INFO)


class Telemetry:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "ganagerie_requests",
            "Requests by method and status code.",
            ["method", "code"],
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "ganagerie_request_seconds",
            "Time from a request's arrival to its last byte.",
            ["method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._images = Counter(
            "ganagerie_images", "Images computed.", ["model", "version"], registry=self.registry
        )
        self._batch_images = Histogram(
            "ganagerie_batch_images",
            "Images computed at once.",
            ["model", "version"],
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )
        self._stage_seconds = Histogram(
            "ganagerie_batch_seconds",
            "Time of a batch by stage: queue (its oldest image), compute, encode.",
            ["model", "version", "stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def request(self, method: str, code: str, seconds: float) -> None:
        """Counts one finished request."""
        self._requests.labels(method, code).inc()
        self._request_seconds.labels(method).observe(seconds)

    def batch(self, card: Card, times: BatchTimes) -> None:
        """Counts one computed batch; thread-safe."""
        model = (card.name, card.version)
        self._images.labels(*model).inc(times.images)
        self._batch_images.labels(*model).observe(times.images)
        self._stage_seconds.labels(*model, "queue").observe(times.queue_s)
        self._stage_seconds.labels(*model, "compute").observe(times.compute_s)
        self._stage_seconds.labels(*model, "encode").observe(times.encode_s)

    def watch_queues(self, depths: Callable[[], list[tuple[Card, int]]]) -> None:
        """Reads the queues whenever metrics are asked for; `depths` gives images by model."""
        self.registry.register(_QueueDepth(depths))


class _QueueDepth(Collector):
    def __init__(self, depths: Callable[[], list[tuple[Card, int]]]) -> None:
        self._depths = depths

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "ganagerie_queue_images", "Images that wait for a runner.", labels=["model", "version"]
        )
        for card, depth in self._depths():
            family.add_metric([card.name, card.version], depth)
        return [family]
