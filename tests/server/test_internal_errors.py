"""A defect of the server: its log has everything, its client nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog

from server.telemetry.logs import configure_logging
from tests.gate import Gate
from tests.server.calls import Refusal, Stubs, metric
from tests.serving import Running


@contextmanager
def logging_as(log_format: str) -> Iterator[None]:
    """Logs as a server process does; afterwards as before."""
    root = logging.getLogger()
    handlers, level, root.handlers = root.handlers, root.level, []
    configure_logging(log_format)
    try:
        yield
    finally:
        structlog.reset_defaults()
        root.handlers = handlers
        root.setLevel(level)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_the_traceback_goes_to_the_log_and_not_to_the_client(
    gate: Gate, gated: Stubs, log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gate.failure = "a secret"
    with logging_as(log_format):
        assert gated.refusal("letters") == Refusal("INTERNAL", "internal error")
        log = capsys.readouterr().err
    assert log.count("Traceback (most recent call last)") == 2  # one a method
    assert log.count("RuntimeError: a secret") == 2
    if log_format == "json":
        events = [json.loads(line) for line in log.splitlines()]
        told = [(event["event"], event["level"], event["method"]) for event in events]
        assert told == [
            ("internal error", "error", "Generate"),
            ("internal error", "error", "StreamGenerate"),
        ]


def test_the_server_lives_on_and_counts_it(gate: Gate, gated_server: Running, gated: Stubs) -> None:
    gate.failure = "a secret"
    with logging_as("json"):
        for _ in range(3):
            gated.refusal("letters", count=50)
    gate.failure = ""
    assert len(gated.generate("letters", count=50)) == 50
    for method in ("Generate", "StreamGenerate"):
        labels = {"method": method, "code": "INTERNAL"}
        assert metric(gated_server.http, "ganagerie_requests_total", **labels) == 3
    assert metric(gated_server.http, "ganagerie_queue_images", model="letters") == 0
