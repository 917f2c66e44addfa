"""Traces, as a collector gets them: names, parents, times and attributes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from protos.inference.v2 import open_inference_pb2 as oip_pb
from protos.inference.v2 import open_inference_pb2_grpc as oip_grpc
from protos.v1 import ganagerie_pb2 as pb
from server.telemetry.tracing import MAX_BATCHES
from tests.gate import Gate
from tests.server.calls import TIMEOUT_S, Stubs, connect, refusal
from tests.server.collector import CALLER, PARENT, TRACE, Collector, attributes
from tests.server.keyed_calls import KEY, code
from tests.server.test_metrics import OPENMETRICS, ask
from tests.serving import Running, server_in_thread


@pytest.fixture
def traced(gate: Gate, collector: Collector, toy_zoo: Path) -> Iterator[Running]:
    """A server that sends traces; one runner, at most 8 images a batch."""
    limits: Any = {"runners": 1, "max_batch": 8, "max_count": 1000}
    with server_in_thread(toy_zoo, traces="otlp", **limits) as running:
        yield running
        gate.open()


@pytest.fixture
def caller(traced: Running) -> Iterator[Stubs]:
    with connect(traced.grpc) as stubs:
        yield stubs


def generate(stubs: Stubs, count: int = 1, metadata: Any = None, model: str = "letters") -> None:
    request = pb.GenerateRequest(model=model, count=count)
    stubs.images.Generate(request, timeout=TIMEOUT_S, metadata=metadata)


def test_a_call_has_a_span_with_the_parts_of_each_batch_within(
    collector: Collector, caller: Stubs
) -> None:
    generate(caller, count=20, metadata=[PARENT])
    (call,) = collector.calls(1)
    assert call.name == "ganagerie.v1.ImageGeneration/Generate"
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, CALLER)
    assert call.status.code == Status.STATUS_CODE_UNSET
    assert attributes(call) == {
        "rpc.system.name": "grpc",
        "rpc.method": "ganagerie.v1.ImageGeneration/Generate",
        "rpc.response.status_code": "OK",
        "ganagerie.model": "letters",
        "ganagerie.version": "1.0.0",
        "ganagerie.images": 20,
        "ganagerie.batches": 3,
    }
    parts = collector.within(call)
    assert sorted(part.name for part in parts) == ["compute"] * 3 + ["encode"] * 3 + ["queue"] * 3
    assert {part.trace_id.hex() for part in parts} == {TRACE}
    assert {part.kind for part in parts} == {Span.SPAN_KIND_INTERNAL}
    for name in ("queue", "compute", "encode"):
        named = [attributes(part) for part in parts if part.name == name]
        sizes = [part["ganagerie.batch.images"] for part in named]
        assert sorted(sizes) == [4, 8, 8]
        assert [part["ganagerie.images"] for part in named] == sizes


def test_times_of_spans_are_nested_and_follow_one_another(
    collector: Collector, caller: Stubs
) -> None:
    generate(caller, count=20)
    (call,) = collector.calls(1)
    parts = collector.within(call)
    begun, ended = call.start_time_unix_nano, call.end_time_unix_nano
    for part in parts:
        times = begun, part.start_time_unix_nano, part.end_time_unix_nano, ended
        assert list(times) == sorted(times), part.name
    waits, works, encodes = (
        [part for part in parts if part.name == name] for name in ("queue", "compute", "encode")
    )
    assert len({wait.start_time_unix_nano for wait in waits}) == 1  # all began to wait at once
    for wait, work, encode in zip(waits, works, encodes, strict=True):
        assert wait.end_time_unix_nano == work.start_time_unix_nano
        assert work.end_time_unix_nano == encode.start_time_unix_nano
    for earlier, later in itertools.pairwise(works):
        assert earlier.end_time_unix_nano <= later.start_time_unix_nano


def test_a_batch_that_two_calls_share_is_in_both_traces(
    gate: Gate, collector: Collector, caller: Stubs
) -> None:
    gate.close()
    calls = [caller.images.Generate.future(pb.GenerateRequest(model="plain", count=8))]
    gate.wait()
    for count in (3, 2):
        calls.append(caller.images.Generate.future(pb.GenerateRequest(model="plain", count=count)))
    gate.open()
    for call in calls:
        call.result(TIMEOUT_S)
    spans = {attributes(span)["ganagerie.images"]: span for span in collector.calls(3)}
    assert len({span.trace_id for span in spans.values()}) == 3
    computed = {
        asked: [attributes(part) for part in collector.within(span) if part.name == "compute"]
        for asked, span in spans.items()
    }
    for asked, parts in computed.items():
        assert sum(part["ganagerie.images"] for part in parts) == asked


def test_a_batch_that_has_several_turns_of_a_call_is_one(
    collector: Collector, toy_zoo: Path
) -> None:
    limits: Any = {"traces": "otlp", "runners": 1, "max_batch": 64}
    with server_in_thread(toy_zoo, **limits) as running, connect(running.grpc) as stubs:
        generate(stubs, count=40)
    (call,) = collector.calls(1)
    assert attributes(call)["ganagerie.batches"] == 1
    parts = [attributes(part) for part in collector.within(call)]
    assert parts == [{"ganagerie.images": 40, "ganagerie.batch.images": 40}] * 3


def test_streams_and_the_open_inference_protocol_have_the_same_spans(
    collector: Collector, caller: Stubs
) -> None:
    list(caller.stream("plain", count=2))
    oip = oip_grpc.GRPCInferenceServiceStub(caller.channel)
    oip.ModelInfer(oip_pb.ModelInferRequest(model_name="letters"), timeout=TIMEOUT_S)
    caller.zoo.ListModels(pb.ListModelsRequest(), timeout=TIMEOUT_S)
    spans = {span.name: span for span in collector.calls(3)}
    for name, model, images in (
        ("ganagerie.v1.ImageGeneration/StreamGenerate", "plain", 2),
        ("inference.GRPCInferenceService/ModelInfer", "letters", 1),
    ):
        told = attributes(spans[name])
        assert (told["ganagerie.model"], told["ganagerie.images"]) == (model, images)
        parts = [part.name for part in collector.within(spans[name])]
        assert parts[:3] == ["queue", "compute", "encode"]
    listing = spans["ganagerie.v1.Zoo/ListModels"]
    assert collector.within(listing) == []
    assert "ganagerie.images" not in attributes(listing)


@pytest.mark.parametrize("batches", [MAX_BATCHES, MAX_BATCHES + 1])
def test_a_large_call_has_spans_for_so_many_batches(
    collector: Collector, caller: Stubs, batches: int
) -> None:
    list(caller.stream("plain", count=8 * batches))
    (call,) = collector.calls(1)
    assert attributes(call)["ganagerie.batches"] == batches
    assert len(collector.within(call)) == 3 * MAX_BATCHES


@pytest.mark.parametrize(
    ("fields", "code", "rejected"),
    [
        ({"model": "nobody"}, "NOT_FOUND", "model_not_found"),
        ({"model": "plain", "count": 0}, "INVALID_ARGUMENT", "invalid_request"),
    ],
)
def test_what_the_caller_did_wrong_is_no_error_of_the_server(
    collector: Collector, caller: Stubs, fields: dict[str, Any], code: str, rejected: str
) -> None:
    refusal(lambda: caller.images.Generate(pb.GenerateRequest(**fields)))
    (call,) = collector.calls(1)
    told = attributes(call)
    assert (told["rpc.response.status_code"], told["ganagerie.rejected"]) == (code, rejected)
    assert call.status.code == Status.STATUS_CODE_UNSET
    assert "error.type" not in told


def test_a_call_without_a_key_has_a_span_and_no_key_is_in_any(
    collector: Collector, toy_zoo: Path, keys: Path
) -> None:
    limits: Any = {"traces": "otlp", "api_keys": keys, "max_in_flight_per_key": 1}
    with server_in_thread(toy_zoo, **limits) as running, connect(running.grpc) as stubs:
        code(stubs, "a-key-that-nobody-has")
        assert code(stubs, KEY) == "OK"
    refused, answered = collector.calls(2)
    told = attributes(refused)
    assert refused.name == answered.name == "ganagerie.v1.Zoo/ListModels"
    assert told["rpc.response.status_code"] == "UNAUTHENTICATED"
    assert told["ganagerie.rejected"] == "unauthenticated"
    assert refused.status.code == Status.STATUS_CODE_UNSET
    assert KEY not in str(collector.spans)
    assert "a-key-that" not in str(collector.spans)


def test_a_call_that_ran_into_its_deadline_is_an_error(
    gate: Gate, collector: Collector, caller: Stubs
) -> None:
    gate.close()
    refusal(lambda: caller.images.Generate(pb.GenerateRequest(model="plain"), timeout=0.2))
    (call,) = collector.calls(1)
    assert call.status.code == Status.STATUS_CODE_ERROR
    told = attributes(call)
    assert told["rpc.response.status_code"] == told["error.type"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(
    ("sampler", "flags", "spans"),
    [
        (None, "00", 0),
        (None, "01", 1),
        ("always_off", "01", 0),
        ("parentbased_always_off", "01", 1),
    ],
)
def test_whether_a_call_is_traced_is_the_callers_choice_or_the_operators(
    collector: Collector,
    toy_zoo: Path,
    monkeypatch: pytest.MonkeyPatch,
    sampler: str | None,
    flags: str,
    spans: int,
) -> None:
    if sampler is not None:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    with server_in_thread(toy_zoo, traces="otlp") as running, connect(running.grpc) as stubs:
        generate(stubs, metadata=[("traceparent", f"00-{TRACE}-{CALLER}-{flags}")])
    # The server has stopped, so everything has been sent.
    assert len(collector.calls(spans)) == spans
    assert len(collector.spans) == 4 * spans


@pytest.mark.parametrize(
    "metadata",
    [
        [("traceparent", "")],
        [("traceparent", "00-" + "0" * 32 + f"-{CALLER}-01")],
        [("traceparent", f"ff-{TRACE}-{CALLER}-01")],
        [("traceparent", f"00-{TRACE.upper()}-{CALLER}-01")],
        [("traceparent", "x" * 8000)],
        [("traceparent", PARENT[1] + "-more")],
        [("tracestate", "a=b")],
        [("baggage", f"traceparent={PARENT[1]}")],
    ],
)
def test_a_context_that_is_none_begins_a_trace_of_its_own(
    collector: Collector, caller: Stubs, metadata: Any, caplog: pytest.LogCaptureFixture
) -> None:
    generate(caller, metadata=metadata)
    (call,) = collector.calls(1)
    assert call.parent_span_id == b""
    assert call.trace_id.hex() not in {TRACE, "0" * 32}
    assert caplog.records == []


@pytest.mark.parametrize(
    ("state", "kept"),
    [("a=b", "a=b"), ("=,=,;;" * 50, ""), ("k=" + "v" * 600, ""), (",".join(["k=v"] * 99), "")],
)
def test_a_state_that_is_none_does_no_harm(
    collector: Collector, caller: Stubs, state: str, kept: str, caplog: pytest.LogCaptureFixture
) -> None:
    generate(caller, metadata=[PARENT, ("tracestate", state), ("baggage", "user=me")])
    (call,) = collector.calls(1)
    assert call.trace_id.hex() == TRACE
    assert call.trace_state == kept
    assert "me" not in attributes(call).values()
    assert caplog.records == []


def test_the_server_says_who_it_is_unless_told_otherwise(
    collector: Collector, toy_zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for names in ({}, {"OTEL_SERVICE_NAME": "mine", "OTEL_RESOURCE_ATTRIBUTES": "zone=a"}):
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        with server_in_thread(toy_zoo, traces="otlp") as running, connect(running.grpc) as stubs:
            generate(stubs)
        told = collector.resource
        assert told["service.name"] == names.get("OTEL_SERVICE_NAME", "ganagerie")
        assert told.get("zone") == ("a" if names else None)
        assert told["telemetry.sdk.language"] == "python"


def test_metrics_name_a_trace_of_each_bucket(caller: Stubs, traced: Running) -> None:
    generate(caller, metadata=[PARENT])
    lines = [line for line in ask(traced.http, OPENMETRICS)[1].splitlines() if TRACE in line]
    (line,) = lines
    assert line.startswith('ganagerie_request_seconds_bucket{le="')
    assert f'# {{trace_id="{TRACE}"}} ' in line
    assert TRACE not in ask(traced.http, "")[1]
