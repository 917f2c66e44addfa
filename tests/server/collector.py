"""An OpenTelemetry collector that keeps what it is sent: OTLP over gRPC, on a free port."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.server.calls import until

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = ("traceparent", f"00-{TRACE}-{CALLER}-01")
"""Metadata of a caller that is traced."""


class Collector(pb_grpc.TraceServiceServicer):
    """What a server under test has sent.

    Attributes:
        endpoint: for `OTEL_EXPORTER_OTLP_ENDPOINT`.
        spans: in the order of their arrival.
        resource: attributes of the sender.
        answers: clear it, and senders wait for their answer.
    """

    endpoint: str

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resource: dict[str, Any] = {}
        self.answers = threading.Event()
        self.answers.set()

    def Export(  # noqa: N802  the protocol's name
        self, request: pb.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> pb.ExportTraceServiceResponse:
        for group in request.resource_spans:
            self.resource = attributes(group.resource)
            for scope in group.scope_spans:
                self.spans += scope.spans
        self.answers.wait(60)
        return pb.ExportTraceServiceResponse()

    def calls(self, count: int) -> list[Span]:
        """The spans of calls, once there are so many."""
        until(lambda: len(self._calls()) >= count, f"{count} spans of calls")
        found = self._calls()
        assert len(found) == count
        return found

    def within(self, call: Span) -> list[Span]:
        """The spans below one, in order of time."""
        below = [span for span in self.spans if span.parent_span_id == call.span_id]
        return sorted(below, key=lambda span: (span.start_time_unix_nano, span.end_time_unix_nano))

    def _calls(self) -> list[Span]:
        return [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]


def attributes(holder: Any) -> dict[str, Any]:
    """Those of a span or a resource."""

    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, str(pair.value.WhichOneof("value")))

    return {pair.key: value(pair) for pair in holder.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    pb_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]  # generated
    port = server.add_insecure_port("127.0.0.1:0")
    collector.endpoint = f"http://127.0.0.1:{port}"
    server.start()
    try:
        yield collector
    finally:
        collector.answers.set()
        server.stop(None).wait()
