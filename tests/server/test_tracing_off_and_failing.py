"""Traces that are off, cannot be had, or cannot be sent."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from protos.v1 import ganagerie_pb2 as pb
from server.config import ServeConfig
from server.errors import ConfigError
from server.telemetry.telemetry import Telemetry
from tests.gate import Gate
from tests.server.calls import TIMEOUT_S, connect, refusal, until
from tests.server.collector import PARENT, TRACE, Collector, attributes
from tests.serving import server_in_thread, server_process

OFF = """
import asyncio, sys
from ganagerie.client import AsyncClient
from server.app import App
from server.config import ServeConfig


async def serve(zoo):
    app = App(ServeConfig(zoo=zoo, port=0, http_port=0))
    await app.start()
    async with AsyncClient(app.grpc_address) as client:
        await client.generate("letters", seed=1)
    await app.drain()


asyncio.run(serve(sys.argv[1]))
assert "server.telemetry.calls" in sys.modules
assert "server.telemetry.tracing" not in sys.modules
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None  # as if it were not installed
from ganagerie.cli import main
main()
"""


def run(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_traces_that_are_off_load_nothing(toy_zoo: Path) -> None:
    done = run(OFF, toy_zoo)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["[]"]), done.stderr


@pytest.mark.parametrize(
    "missing", ["opentelemetry", "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"]
)
def test_without_the_extra_the_start_says_what_to_install(toy_zoo: Path, missing: str) -> None:
    done = run(WITHOUT, missing, "serve", "--traces", "otlp", "--zoo", toy_zoo, "--port", "0")
    assert done.returncode == 2
    assert done.stderr == (
        "error: traces otlp needs OpenTelemetry, which is not there "
        f"(import of {missing} halted; None in sys.modules): "
        "pip install 'ganagerie[otel]', or leave traces off\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "http/protobuf",
            "traces otlp: 'http/protobuf' as OTEL_EXPORTER_OTLP_PROTOCOL; allowed: grpc, to the "
            "port of the collector that takes OTLP over gRPC (usually 4317)",
        ),
        (
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "soon",
            "traces otlp: a variable OTEL_* cannot be: could not convert string to float: 'soon'",
        ),
        (
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            "4096",
            "traces otlp: a variable OTEL_* cannot be: max_export_batch_size must be less than or "
            "equal to max_queue_size.",
        ),
    ],
)
def test_a_variable_that_cannot_be_is_an_error(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, text: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        Telemetry(ServeConfig(traces="otlp"))
    assert str(caught.value) == text
    Telemetry(ServeConfig(traces="off"))  # whose variables they are not


def test_a_stop_sends_what_has_not_been_sent(
    collector: Collector, toy_zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    with server_in_thread(toy_zoo, traces="otlp") as running, connect(running.grpc) as stubs:
        for _ in range(3):
            stubs.generate("letters")
        assert collector.spans == []
    assert len(collector.calls(3)) == 3


def test_a_collector_that_hangs_holds_up_no_request_and_no_stop(
    collector: Collector, toy_zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Waiting for the collector would take an hour, longer than anything here does.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    collector.answers.clear()
    with server_in_thread(toy_zoo, traces="otlp") as running, connect(running.grpc) as stubs:
        stubs.generate("letters")
        until(lambda: collector.spans, "the collector has been asked")
        for i in range(100):
            assert len(stubs.generate("letters", count=2, seed=i)) == 2
    assert len(collector.spans) <= 3 * 8  # the rest was dropped


def test_no_collector_at_all_fails_nothing(toy_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    with server_process(toy_zoo, "--traces", "otlp") as running, connect(running.grpc) as stubs:
        server: Any = running.process
        for _ in range(20):
            stubs.generate("letters", count=3)
        event: dict[str, Any] = {}
        while not event.get("event", "").startswith(f"Failed to export traces to 127.0.0.1:{port}"):
            event = json.loads(server.stderr.readline())
        assert event["level"] == "error"
        assert len(stubs.generate("letters", count=3)) == 3
        server.send_signal(signal.SIGTERM)
        events = [json.loads(line)["event"] for line in server.stderr]
        assert server.wait(TIMEOUT_S) == 0
    assert "stopped" in events


def test_the_log_of_a_failed_call_names_its_trace(
    gate: Gate, collector: Collector, toy_zoo: Path
) -> None:
    gate_failure, request = "a secret", pb.GenerateRequest(model="letters")
    with server_in_thread(toy_zoo, traces="otlp") as running, connect(running.grpc) as stubs:
        gate.failure = gate_failure
        with structlog.testing.capture_logs() as events:
            refusal(lambda: stubs.images.Generate(request, metadata=(PARENT,)))
        gate.failure = ""
    (event,) = [event for event in events if event["event"] == "internal error"]
    assert (event["method"], event["trace_id"]) == ("Generate", TRACE)
    (call,) = collector.calls(1)
    assert attributes(call)["rpc.response.status_code"] == "INTERNAL"
    assert gate_failure not in str(call)


def test_the_log_of_a_failed_call_names_no_trace_where_there_is_none(
    gate: Gate, toy_zoo: Path
) -> None:
    with server_in_thread(toy_zoo) as running, connect(running.grpc) as stubs:
        gate.failure = "a secret"
        with structlog.testing.capture_logs() as events:
            stubs.refusal("letters")
        gate.failure = ""
    assert ["trace_id" in event for event in events if event["log_level"] == "error"] == [False] * 2
