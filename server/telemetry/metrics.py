"""What is counted as it happens, for Prometheus; docs/metrics.md says what each is good for.

Looking up the child of a metric by its labels costs more than counting with it, so children are
looked up once and kept. Labels take their values from methods, error classes, models and names of
API keys, never from what a client sends.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from server.batch import BatchTimes
from zoo.card import Card, parse_reference

MAX_KEYS: Final = 1000  # names of API keys that are told apart; key files change, counters stay
OTHER_KEYS: Final = "(other)"

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 48, 64, 128, 256, 512, 1024, 4096)
_COUNTS = (1, 4, 16, 64, 256, 1024, 4096)


class Metrics:
    """The metrics of one server, in a registry of their own.

    Attributes:
        registry: what `/metrics` answers with.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        model = ["model", "version"]
        self.requests = Counter(
            "ganagerie_requests",
            "Requests that ended, by method and status code.",
            ["method", "code"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "ganagerie_request_seconds",
            "Time from a request's arrival to its last byte.",
            ["method"],
            buckets=(*_SECONDS, 30.0, 60.0),
            registry=registry,
        )
        self.in_flight = Gauge(
            "ganagerie_requests_in_flight", "Requests that run.", ["method"], registry=registry
        )
        self.reply_bytes = Counter(
            "ganagerie_reply_bytes",
            "Bytes of messages sent in answer, before TLS and framing.",
            ["method"],
            registry=registry,
        )
        self._rejected = Counter(
            "ganagerie_requests_rejected",
            "Requests refused on purpose, by reason.",
            ["reason"],
            registry=registry,
        )
        self._request_images = Histogram(
            "ganagerie_request_images",
            "Images that a valid request asks for.",
            model,
            buckets=_COUNTS,
            registry=registry,
        )
        self._images = Counter("ganagerie_images", "Images computed.", model, registry=registry)
        self._batch_images = Histogram(
            "ganagerie_batch_images",
            "Images computed at once.",
            model,
            buckets=_BATCHES,
            registry=registry,
        )
        self._batch_seconds = Histogram(
            "ganagerie_batch_seconds",
            "Time of a batch by stage: queue (its oldest image), compute, encode.",
            [*model, "stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._load_seconds = Gauge(
            "ganagerie_model_load_seconds",
            "How long loading and warming up a model took, the last time that it worked.",
            model,
            registry=registry,
        )
        self._loads = Counter(
            "ganagerie_model_loads",
            "Attempts to load a model, by outcome.",
            [*model, "outcome"],
            registry=registry,
        )
        self._key_requests = Counter(
            "ganagerie_key_requests",
            "Requests that ended, by the name of their API key and status code.",
            ["key", "code"],
            registry=registry,
        )
        self._key_images = Counter(
            "ganagerie_key_images",
            "Images made for an API key, by its name.",
            ["key"],
            registry=registry,
        )
        ProcessCollector(registry=registry)
        self._methods: dict[str, MethodMetrics] = {}
        self._batches: dict[str, _BatchMetrics] = {}
        self._asked: dict[str, Histogram] = {}
        self._keys: dict[str, str] = {}

    def method(self, path: str) -> MethodMetrics:
        """What is counted of `/package.Service/Method`; labelled by the method's own name."""
        method = self._methods.get(path)
        if method is None:
            name = path.rsplit("/", 1)[-1]
            method = next((m for m in self._methods.values() if m.name == name), None)
            self._methods[path] = method = method or MethodMetrics(self, name)
        return method

    def expect_rejections(self, reasons: Iterable[str]) -> None:
        """Shows these reasons before anything was refused, so that the first one is an increase."""
        for reason in reasons:
            self._rejected.labels(reason)

    def rejected(self, reason: str) -> None:
        """Counts a request that was refused."""
        self._rejected.labels(reason).inc()

    def asked(self, card: Card, count: int) -> None:
        """Counts the images of a valid request."""
        reference = card.reference
        if reference not in self._asked:
            self._asked[reference] = self._request_images.labels(card.name, card.version)
        self._asked[reference].observe(count)

    def batch(self, card: Card, times: BatchTimes) -> None:
        """Counts one computed batch; thread-safe."""
        batches = self._batches.get(card.reference)
        if batches is None:  # two threads may both get here: `labels` gives them the same children
            labels = card.name, card.version
            batches = self._batches[card.reference] = _BatchMetrics(
                self._images.labels(*labels),
                self._batch_images.labels(*labels),
                *(self._batch_seconds.labels(*labels, stage) for stage in _BatchMetrics.STAGES),
            )
        batches.count(times)

    def load(self, reference: str, seconds: float, worked: bool) -> None:
        """Counts an attempt to load a model; thread-safe."""
        name, version = parse_reference(reference)
        labels = name, version or ""
        # Both are shown from the first attempt on, so that a later failure is an increase.
        loaded, failed = (self._loads.labels(*labels, outcome) for outcome in ("loaded", "failed"))
        (loaded if worked else failed).inc()
        if worked:
            self._load_seconds.labels(*labels).set(seconds)

    def key_request(self, owner: str, code: str) -> None:
        """Counts a request that ended."""
        self._key_requests.labels(self._key(owner), code).inc()

    def key_images(self, owner: str, images: int) -> None:
        """Counts images that were made."""
        self._key_images.labels(self._key(owner)).inc(images)

    def _key(self, owner: str) -> str:
        if owner not in self._keys and len(self._keys) < MAX_KEYS:
            self._keys[owner] = owner
        return self._keys.get(owner, OTHER_KEYS)


class MethodMetrics:
    """What is counted of one method, on one event loop."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self.name = name
        self.reply_bytes = metrics.reply_bytes.labels(name)
        self._requests = metrics.requests
        self._codes: dict[str, Counter] = {}
        self._seconds = metrics.request_seconds.labels(name)
        self._in_flight = 0
        metrics.in_flight.labels(name).set_function(lambda: self._in_flight)

    def began(self) -> None:
        """Counts a request that runs."""
        self._in_flight += 1

    def ended(self, code: str, seconds: float, exemplar: dict[str, str] | None) -> None:
        """Counts a request that ran; `exemplar` names its trace, if there is one."""
        self._in_flight -= 1
        counter = self._codes.get(code)
        if counter is None:
            counter = self._codes[code] = self._requests.labels(self.name, code)
        counter.inc()
        self._seconds.observe(seconds, exemplar)


class _BatchMetrics:
    """What is counted of one model's batches."""

    STAGES: Final = ("queue", "compute", "encode")

    def __init__(
        self,
        images: Counter,
        sizes: Histogram,
        queue: Histogram,
        compute: Histogram,
        encode: Histogram,
    ) -> None:
        self._images, self._sizes = images, sizes
        self._queue, self._compute, self._encode = queue, compute, encode

    def count(self, times: BatchTimes) -> None:
        self._images.inc(times.images)
        self._sizes.observe(times.images)
        self._queue.observe(times.queue_s)
        self._compute.observe(times.compute_s)
        self._encode.observe(times.encode_s)
