"""Signals in each phase of a server's life: starting, serving, still serving, draining."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2

from protos.v1 import ganagerie_pb2 as pb
from tests.server.admin_calls import put
from tests.server.calls import TIMEOUT_S, Stubs, connect, fetch, refusal, until
from tests.server.loads import Loads
from tests.serving import Running, server_in_thread, server_process
from tests.toys import write_toy

RAW = pb.IMAGE_FORMAT_RAW
MANY = 2000  # images of 64 KiB: far more than a connection holds while its reader waits
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

SLOW_START = """
import sys, time
import server.loading
from ganagerie.cli import main

real, seconds = server.loading.load_generator, float(sys.argv.pop(1))


def slow(*arguments):
    print('{"event": "loading"}', file=sys.stderr, flush=True)
    time.sleep(seconds)
    return real(*arguments)


server.loading.load_generator = slow
main()
"""


def logged(process: Any, event: str) -> dict[str, Any]:
    """The next event of that name in a process's log."""
    for line in process.stderr:
        found: dict[str, Any] = json.loads(line)
        if found["event"] == event:
            return found
    raise AssertionError(f"no event {event!r}; the server ended with code {process.wait()}")


def health(stubs: Stubs) -> Any:
    return stubs.health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status


@contextmanager
def starting(zoo: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A server that takes so long to load its only model, and is at it."""
    words = ["serve", "--zoo", str(zoo), "--port", "0", "--http-port", "0", "--log-format", "json"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_START, str(seconds), *words],
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    try:
        logged(process, "loading")
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_ends_it_well(zoo: Path, number: signal.Signals) -> None:
    for name in ("one", "two"):
        write_toy(zoo, name)
    with starting(zoo, 0.5) as process:
        process.send_signal(number)
        assert process.wait(TIMEOUT_S) == 0
        assert process.stderr
        events = [json.loads(line)["event"] for line in process.stderr]
    assert events == ["stopping before the start was over"]  # the second model was not begun


def test_a_second_signal_during_the_start_ends_at_once(zoo: Path) -> None:
    write_toy(zoo, "toy")
    with starting(zoo, 60) as process:
        process.send_signal(signal.SIGTERM)
        logged(process, "stopping before the start was over")
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 128 + signal.SIGTERM


@pytest.fixture
def delayed(noise_zoo: Path) -> Iterator[Running]:
    """A server that serves on for a minute after SIGTERM."""
    with server_process(noise_zoo, "--shutdown-delay-s", "60") as running:
        yield running


def test_after_sigterm_all_is_served_for_the_delay_and_health_says_otherwise(
    delayed: Running,
) -> None:
    server: Any = delayed.process
    with connect(delayed.grpc) as stubs:
        watching: Any = stubs.health.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert next(watching).status != NOT_SERVING
        server.send_signal(signal.SIGTERM)
        assert logged(server, "still serving")["shutdown_delay_s"] == 60
        assert next(watching).status == NOT_SERVING == health(stubs)
        assert fetch(delayed.http, "/readyz")[0] == 503
        assert fetch(delayed.http, "/healthz")[0] == 200
        assert len(stubs.generate("noise", count=3)) == 3
        assert len(list(stubs.stream("noise", count=3))) == 3
    with connect(delayed.grpc) as later:
        assert health(later) == NOT_SERVING
        assert stubs_list(later) == ["noise"]
        assert len(later.generate("noise", count=3)) == 3
    assert server.poll() is None


def stubs_list(stubs: Stubs) -> list[str]:
    return [model.name for model in stubs.zoo.ListModels(pb.ListModelsRequest()).models]


def test_a_second_signal_during_the_delay_ends_at_once(delayed: Running) -> None:
    server: Any = delayed.process
    with connect(delayed.grpc) as stubs:
        running = stubs.stream("noise", count=MANY, format=RAW)
        next(running)
        server.send_signal(signal.SIGTERM)
        logged(server, "still serving")
        server.send_signal(signal.SIGTERM)
        assert server.wait(TIMEOUT_S) == 128 + signal.SIGTERM
        assert refusal(lambda: list(running)).code == "UNAVAILABLE"


def test_after_the_delay_what_runs_is_finished(noise_zoo: Path) -> None:
    with (
        server_process(noise_zoo, "--shutdown-delay-s", "0.2") as process,
        connect(process.grpc) as stubs,
    ):
        server: Any = process.process
        running = stubs.stream("noise", count=MANY, format=RAW)
        indices = {next(running).index}
        server.send_signal(signal.SIGTERM)
        for event in ("still serving", "draining"):
            logged(server, event)
        indices |= {image.index for image in running}
        assert indices == set(range(MANY))
        logged(server, "stopped")
        assert server.wait(TIMEOUT_S) == 0


def test_sighup_looks_at_the_zoo_folder(zoo: Path) -> None:
    put(zoo, "toy")
    with server_process(zoo) as process, connect(process.grpc) as stubs:
        server: Any = process.process
        for number in (1, 2, 3):
            put(zoo, f"toy-{number}")
            server.send_signal(signal.SIGHUP)
            until(lambda number=number: len(stubs_list(stubs)) == 1 + number, "it came")  # type: ignore[misc]
        server.send_signal(signal.SIGTERM)
        assert server.wait(TIMEOUT_S) == 0


def test_a_request_that_waits_for_its_model_is_finished_too(zoo: Path, loads: Loads) -> None:
    put(zoo, "one")
    put(zoo, "two")
    with ExitStack() as afterwards:
        with server_in_thread(zoo, max_loaded_models=1) as running:
            stubs = afterwards.enter_context(connect(running.grpc))
            loads.hold()
            waiting = stubs.images.Generate.future(pb.GenerateRequest(model="two"))
            loads.wait(1)
            later = threading.Timer(0.3, loads.go_on)  # the drain has begun by then
            later.start()
            afterwards.callback(later.join)
        assert waiting.result(TIMEOUT_S).images
