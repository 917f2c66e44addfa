"""A server's life: how it starts or fails to, what it finishes, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog.testing

from protos.v1 import ganagerie_pb2 as pb
from tests.gate import Gate
from tests.server.calls import TIMEOUT_S, Stubs, connect, fetch, metric, refusal, until
from tests.serving import Running, server_in_thread, server_process
from tests.toys import write_toy

RAW = pb.IMAGE_FORMAT_RAW
MANY = 2000  # images of 64 KiB: far more than a connection holds while its reader waits


def serve(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`ganagerie serve`, where it should fail to start."""
    command = [sys.executable, "-m", "ganagerie.cli", "serve", "--log-format", "json"]
    ports = [word for flag in ("--port", "--http-port") for word in (flag, "0")]
    return subprocess.run(
        [*command, *ports, *map(str, arguments)], capture_output=True, text=True, timeout=30
    )


def logged(process: Any, event: str) -> dict[str, Any]:
    """The next event of that name in a process's log."""
    for line in process.stderr:
        found: dict[str, Any] = json.loads(line)
        if found["event"] == event:
            return found
    raise AssertionError(f"no event {event!r}; the server ended with code {process.wait()}")


@pytest.fixture
def process(noise_zoo: Path) -> Iterator[Running]:
    with server_process(noise_zoo) as running:
        yield running


@pytest.fixture
def caller(process: Running) -> Iterator[Stubs]:
    with connect(process.grpc) as stubs:
        yield stubs


def is_refused(address: str) -> bool:
    with connect(address) as stubs:
        try:
            stubs.generate("noise")
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


def test_sigterm_finishes_what_runs_and_takes_no_more(process: Running, caller: Stubs) -> None:
    server: Any = process.process
    running = caller.stream("noise", count=MANY, format=RAW)
    indices = {next(running).index}
    server.send_signal(signal.SIGTERM)
    assert logged(server, "draining")["grace_s"] == 30
    until(lambda: is_refused(process.grpc), "refusing")
    assert fetch(process.http, "/readyz")[0] == 503
    assert fetch(process.http, "/healthz")[0] == 200
    indices |= {image.index for image in running}
    assert indices == set(range(MANY))
    assert server.wait(TIMEOUT_S) == 0
    assert logged(server, "stopped")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(
    process: Running, caller: Stubs, second: signal.Signals
) -> None:
    server: Any = process.process
    running = caller.stream("noise", count=MANY, format=RAW)
    next(running)
    server.send_signal(signal.SIGTERM)
    logged(server, "draining")
    server.send_signal(second)
    assert server.wait(TIMEOUT_S) == 128 + second
    assert refusal(lambda: list(running)).code == "UNAVAILABLE"


def test_an_idle_server_ends_soon_after_ctrl_c(process: Running) -> None:
    server: Any = process.process
    server.send_signal(signal.SIGINT)
    assert server.wait(TIMEOUT_S) == 0


def test_after_the_grace_what_still_runs_is_given_up(noise_zoo: Path) -> None:
    with ExitStack() as afterwards:
        with server_in_thread(noise_zoo, grace_s=0.1) as running:
            stubs = afterwards.enter_context(connect(running.grpc))
            unread = stubs.stream("noise", count=MANY, format=RAW)
            next(unread)
            started_s = time.monotonic()
        assert time.monotonic() - started_s < TIMEOUT_S
        assert refusal(lambda: list(unread)).code in {"UNAVAILABLE", "CANCELLED"}


def test_a_start_is_told_in_one_event(toy_zoo: Path) -> None:
    with structlog.testing.capture_logs() as events, server_in_thread(toy_zoo) as running:
        pass
    assert [event["event"] for event in events] == ["serving", "draining", "stopped"]
    assert 0 < events[0].pop("startup_s") < TIMEOUT_S
    references = ["colour@1.0.0", "letters@1.0.0", "plain@1.10.0", "plain@1.9.0"]
    assert events[0] == {
        "event": "serving",
        "log_level": "info",
        "grpc": running.grpc,
        "http": running.http,
        "models": dict.fromkeys(references, "CPUExecutionProvider"),
    }


@pytest.mark.parametrize("flag", ["--port", "--http-port"])
def test_a_taken_port_is_one_line_and_code_2(toy_zoo: Path, toy_server: Running, flag: str) -> None:
    taken = toy_server.grpc if flag == "--port" else toy_server.http
    ended = serve("--zoo", toy_zoo, flag, taken.rsplit(":", 1)[1])
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"error: cannot listen on {taken}: it is in use, or not an address of this machine; "
        f"choose another with {flag} (0 takes a free port) or --host\n"
    )


def test_an_empty_zoo_is_one_line_and_code_2(tmp_path: Path) -> None:
    ended = serve("--zoo", tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"error: nothing to serve: {tmp_path} holds no models\n"


def test_a_missing_zoo_is_one_line_and_code_2(tmp_path: Path) -> None:
    ended = serve("--zoo", tmp_path / "none")
    assert (ended.returncode, ended.stdout) == (2, "")
    text = f"error: zoo {tmp_path / 'none'}: cannot be read: No such file or directory\n"
    assert ended.stderr == text


def test_a_zoo_of_broken_models_says_what_is_wrong_with_each(tmp_path: Path) -> None:
    for name in ("altered", "senseless"):
        write_toy(tmp_path, name)
    (tmp_path / "altered" / "generator.onnx").write_bytes(b"")
    (tmp_path / "senseless" / "card.json").write_text("{")
    ended = serve("--zoo", tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    *events, error = ended.stderr.splitlines()
    assert [json.loads(line)["event"] for line in events] == ["model unavailable"] * 2
    assert error.startswith("error: nothing to serve: altered@1.0.0: generator.onnx: sha256 is ")
    assert "; senseless: card.json: card: Invalid JSON: " in error


def test_nobody_else_can_listen_on_the_port(toy_server: Running) -> None:
    host, _, port = toy_server.grpc.rpartition(":")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="Address already in use"):
            other.bind((host, int(port)))


def queued(running: Running, model: str = "letters") -> float:
    return metric(running.http, "ganagerie_queue_images", model=model)


@pytest.mark.parametrize("method", ["Generate", "StreamGenerate"])
@pytest.mark.parametrize("how", ["cancellation", "deadline"])
def test_a_call_that_ends_early_frees_the_queue(
    gate: Gate, gated_server: Running, gated: Stubs, method: str, how: str
) -> None:
    gate.close()
    request = pb.GenerateRequest(model="letters", count=90, seed=1000)
    timeout_s = 0.5 if how == "deadline" else TIMEOUT_S
    unary = method == "Generate"
    call: Any = (
        gated.images.Generate.future(request, timeout=timeout_s)
        if unary
        else gated.images.StreamGenerate(request, timeout=timeout_s)
    )
    gate.wait()
    if how == "cancellation":
        assert queued(gated_server) == 82
        call.cancel()
    else:
        ended = refusal(call.result if unary else lambda: next(call))
        assert ended.code == "DEADLINE_EXCEEDED"
    until(lambda: queued(gated_server) == 0, "nothing waits")
    gate.open()
    assert [image.index for image in gated.generate("letters", seed=1, count=100)][-1] == 99
    # Of the call that ended, only the batch that was running has been computed.
    assert sorted(seed for seed in gate.seeds if seed >= 1000) == list(range(1000, 1008))


def test_a_reader_that_leaves_in_the_middle_frees_the_queue(noise_zoo: Path) -> None:
    zoo = server_in_thread(noise_zoo, runners=1, max_batch=1)
    with zoo as running, connect(running.grpc) as stubs:
        call: Any = stubs.stream("noise", count=4000)
        next(call)
        call.cancel()
        labels = {"method": "StreamGenerate", "code": "CANCELLED"}
        until(lambda: metric(running.http, "ganagerie_requests_total", **labels) == 1, "counted")
        until(lambda: queued(running, "noise") == 0, "nothing waits")
        assert metric(running.http, "ganagerie_images_total", model="noise") < 4000
        assert len(stubs.generate("noise")) == 1


def test_a_full_queue_says_try_again_later(gate: Gate, gated_server: Running, gated: Stubs) -> None:
    def ask(count: int) -> Any:
        return gated.images.Generate.future(pb.GenerateRequest(model="letters", count=count))

    def refused(count: int) -> tuple[str, str]:
        found = gated.refusal("letters", count=count)
        assert found.retry_s is not None
        assert 0.05 <= found.retry_s <= 30
        return found[:2]

    full = "RESOURCE_EXHAUSTED", "would exceed 100; try again later"
    gate.close()
    calls = [ask(100)]
    gate.wait()
    assert refused(9) == (full[0], f"92 images wait for letters, 9 more {full[1]}")
    calls.append(ask(8))
    until(lambda: queued(gated_server) == 100, "the queue is full")
    assert refused(1) == (full[0], f"100 images wait for letters, 1 more {full[1]}")
    gate.open()
    assert [len(call.result().images) for call in calls] == [100, 8]
