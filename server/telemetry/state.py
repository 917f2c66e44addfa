"""What is looked at when metrics are asked for: queues, models, versions."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server.build import server_version
from server.roster import State
from zoo.runtime import load_runtime

if TYPE_CHECKING:  # it is told about batches by the metrics
    from server.residency import Residency


class ServerState(Collector):
    """The state of a server's models; read from a thread of its own, while they change."""

    def __init__(self, residency: Residency) -> None:
        self._residency = residency

    def collect(self) -> Iterator[Metric]:
        """The families of docs/metrics.md that are not counted as they happen."""
        yield from self._loaded()
        yield from self._models()
        yield _build()

    def _loaded(self) -> Iterator[Metric]:
        model = ["model", "version"]
        waiting = GaugeMetricFamily(
            "ganagerie_queue_images", "Images that wait for a runner.", labels=model
        )
        oldest = GaugeMetricFamily(
            "ganagerie_queue_oldest_seconds",
            "How long the request that has waited longest has had images waiting.",
            labels=model,
        )
        info = InfoMetricFamily(
            "ganagerie_model",
            "A loaded model, and what runs it.",
            labels=["model", "version", "provider"],
        )
        held = GaugeMetricFamily(
            "ganagerie_queue_bytes",
            "Memory of requests that have not been answered, at most.",
            labels=model,
        )
        largest = GaugeMetricFamily(
            "ganagerie_batch_limit_images", "Most images that are computed at once.", labels=model
        )
        cached = GaugeMetricFamily(
            "ganagerie_cache_bytes", "Memory of finished images that are kept.", labels=model
        )
        looked_up = CounterMetricFamily(
            "ganagerie_cache_images",
            "Images that were looked for among those that are kept.",
            labels=[*model, "result"],
        )
        for resident in [model.resident for model in self._residency.roster]:
            if resident is None:
                continue
            labels = [resident.card.name, resident.card.version]
            waiting.add_metric(labels, resident.batcher.waiting)
            oldest.add_metric(labels, resident.batcher.oldest_s)
            held.add_metric(labels, resident.batcher.held_bytes)
            largest.add_metric(labels, resident.batcher.max_batch)
            info.add_metric([*labels, resident.generator.provider], {})
            if cache := resident.cache:
                cached.add_metric(labels, cache.held_bytes)
                looked_up.add_metric([*labels, "hit"], cache.hits)
                looked_up.add_metric([*labels, "miss"], cache.misses)
        yield from (waiting, oldest, held, largest, info)
        if cached.samples:
            yield from (cached, looked_up)

    def _models(self) -> Iterator[Metric]:
        roster = list(self._residency.roster)
        states = Counter(model.state for model in roster)
        models = GaugeMetricFamily(
            "ganagerie_models", "Models of the zoo, by state.", labels=["state"]
        )
        for state in State:
            models.add_metric([state.name.lower()], states[state])
        yield models
        reasons = GaugeMetricFamily(
            "ganagerie_model_failed",
            "1 for a model that could not be loaded, or not anew; the log says why.",
            labels=["reference"],
        )
        for model in roster:
            if model.reason:
                reasons.add_metric([model.reference], 1)
        yield reasons


def _build() -> Metric:
    build = InfoMetricFamily("ganagerie_build", "What this server is made of.")
    build.add_metric(
        [],
        {
            "version": server_version(),
            "onnxruntime": load_runtime().__version__,
            "python": platform.python_version(),
        },
    )
    return build
