"""Traces: a span for each call and for each part of what it waited for, sent to a collector.

Imported only where traces are on. docs/tracing.md has the spans and the variables.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import structlog
from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from server.batch import BatchTimes
from server.build import server_version
from server.errors import ConfigError
from zoo.card import Card
from zoo.errors import one_line, shown

MAX_BATCHES: Final = 32  # of one call that get spans: one of 4,096 images has hundreds
FLUSH_S: Final = 3.0  # most that a stop waits for the collector
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HEADERS = ("traceparent", "tracestate")
# Of a server's span; what the caller did wrong is no error of the server
# (https://opentelemetry.io/docs/specs/semconv/rpc/grpc/).
_ERRORS = frozenset(
    ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
)

_log = structlog.get_logger()


class Tracer:
    """Begins the spans of calls, and sends them from a thread of its own.

    Raises:
        ConfigError: a variable `OTEL_*` that cannot be.
    """

    def __init__(self) -> None:
        protocol = next((os.environ[name] for name in _PROTOCOLS if name in os.environ), "grpc")
        if protocol != "grpc":
            raise ConfigError(
                f"traces otlp: {shown(protocol)} as OTEL_EXPORTER_OTLP_PROTOCOL; allowed: grpc, "
                "to the port of the collector that takes OTLP over gRPC (usually 4317)"
            )
        # What callers write into traceparent and tracestate is not worth a line of the log each,
        # nor is each of several attempts to send.
        for chatty in ("opentelemetry.trace", "opentelemetry.exporter"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        try:
            self._exporter = OTLPSpanExporter()
            processor = BatchSpanProcessor(self._exporter)
        except ValueError as error:
            raise ConfigError(
                f"traces otlp: a variable OTEL_* cannot be: {one_line(error)}"
            ) from error
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("ganagerie", server_version())
        self._propagator = TraceContextTextMapPropagator()

    def start(self, path: str, metadata: Iterable[tuple[str, Any]] | None) -> _CallTrace:
        """Begins the span of a call, below the caller's if its metadata say so."""
        sent = {name: value for name, value in metadata or () if name in _HEADERS}
        parent = self._propagator.extract(sent) if sent else Context()
        return _CallTrace(self._tracer, path.removeprefix("/"), parent)

    async def close(self) -> None:
        """Sends what is left; after `FLUSH_S` it is dropped."""
        loop = asyncio.get_running_loop()
        sent = asyncio.Event()

        def flush() -> None:
            self._provider.shutdown()
            if not loop.is_closed():
                loop.call_soon_threadsafe(sent.set)

        # Not from the loop's own pool of threads: that is waited for without a limit.
        threading.Thread(target=flush, name="flush-traces", daemon=True).start()
        try:
            await asyncio.wait_for(sent.wait(), FLUSH_S)
        except TimeoutError:
            _log.warning("traces dropped", reason=f"the collector took longer than {FLUSH_S:g} s")
            self._exporter.shutdown()


class _CallTrace:
    """The spans of one call. Times are `time.perf_counter`'s until they become spans'."""

    def __init__(self, tracer: api.Tracer, method: str, parent: Context) -> None:
        self._tracer = tracer
        self._epoch_ns = time.time_ns() - time.perf_counter_ns()
        self._batches: dict[BatchTimes, int] = {}  # images of this call
        self._waiting_s = 0.0
        self._span = tracer.start_span(
            method,
            parent,
            api.SpanKind.SERVER,
            {"rpc.system.name": "grpc", "rpc.method": method},
            start_time=self._ns(time.perf_counter()),
        )
        self.recorded = self._span.is_recording()
        self.ids = {"trace_id": api.format_trace_id(self._span.get_span_context().trace_id)}

    def plan(self, card: Card, count: int) -> None:
        self._waiting_s = time.perf_counter()
        self._span.set_attributes(
            {
                "ganagerie.model": card.name,
                "ganagerie.version": card.version,
                "ganagerie.images": count,
            }
        )

    def batch(self, images: int, times: BatchTimes) -> None:
        # One batch may hold images of several turns of the call, and is told of for each.
        self._batches[times] = self._batches.get(times, 0) + images

    def end(self, code: str, rejection: str | None) -> None:
        if not self.recorded:
            return
        ended_s = time.perf_counter()
        # The answer does not wait for its spans.
        asyncio.get_running_loop().call_soon(self._end, ended_s, code, rejection)

    def _end(self, ended_s: float, code: str, rejection: str | None) -> None:
        within = api.set_span_in_context(self._span, Context())
        for times, images in islice(self._batches.items(), MAX_BATCHES):
            self._stages(within, images, times)
        span = self._span
        span.set_attribute("rpc.response.status_code", code)
        if self._batches:
            span.set_attribute("ganagerie.batches", len(self._batches))
        if rejection is not None:
            span.set_attribute("ganagerie.rejected", rejection)
        if code in _ERRORS:
            span.set_attribute("error.type", code)
            span.set_status(api.StatusCode.ERROR)
        span.end(self._ns(ended_s))

    def _stages(self, within: Context, images: int, times: BatchTimes) -> None:
        computed_s = times.taken_s + times.compute_s
        attributes = {"ganagerie.images": images, "ganagerie.batch.images": times.images}
        for name, start_s, end_s in (
            ("queue", self._waiting_s, times.taken_s),
            ("compute", times.taken_s, computed_s),
            ("encode", computed_s, computed_s + times.encode_s),
        ):
            span = self._tracer.start_span(
                name, within, attributes=attributes, start_time=self._ns(start_s)
            )
            span.end(self._ns(end_s))

    def _ns(self, perf_s: float) -> int:
        return self._epoch_ns + int(perf_s * 1e9)


def _resource() -> Resource:
    """`OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win over what we say of ourselves."""
    ours = {"service.name": "ganagerie", "service.version": server_version()}
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})
