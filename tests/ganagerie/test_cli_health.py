"""`ganagerie health`: one line, exit code 0 where it is SERVING, else 1."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.config import misspelt_settings
from tests.certificates import Authority
from tests.ganagerie.conftest import Behaviour, Cli, Outcome, Scripted, answers
from tests.server.calls import connect
from tests.server.starting import Starting
from tests.serving import Running, server_in_thread

SERVICES = ["ganagerie.v1.ImageGeneration", "ganagerie.v1.Zoo", "inference.GRPCInferenceService"]


def test_a_server_that_serves(cli: Cli, toy_server: Running) -> None:
    assert cli("health", "--address", toy_server.grpc) == Outcome(
        0, f"{toy_server.grpc} is SERVING\n", ""
    )


@pytest.mark.parametrize("service", SERVICES)
def test_one_of_its_services(cli: Cli, toy_server: Running, service: str) -> None:
    done = cli("health", "--address", toy_server.grpc, "--service", service)
    assert done == Outcome(0, f"{toy_server.grpc} {service} is SERVING\n", "")


def test_a_service_that_it_does_not_have(cli: Cli, toy_server: Running) -> None:
    known = ", ".join(repr(name) for name in ["", *SERVICES])
    done = cli("health", "--address", toy_server.grpc, "--service", "x")
    assert done == Outcome(1, "", f"error: --service: 'x': unknown service; known: {known}\n")


@pytest.fixture
def starting(toy_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starting]:
    server = Starting(toy_zoo, monkeypatch)
    yield server
    server.stop()


def test_a_server_that_starts_and_ends(cli: Cli, starting: Starting) -> None:
    asked = ["health", "--address", starting.grpc]
    assert cli(*asked) == Outcome(1, f"{starting.grpc} is NOT_SERVING\n", "")
    starting.load()
    with connect(starting.grpc):
        assert cli(*asked).code == 0
    starting.stop()
    done = cli(*asked)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {starting.grpc} does not answer (")


def test_nobody_there(cli: Cli, nobody: str) -> None:
    done = cli("health", "--address", nobody)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {nobody} does not answer (")
    assert done.err.endswith("; is the server running? ganagerie serve\n")
    assert done.err.count("\n") == 1


def test_a_server_without_a_health_service(
    cli: Cli, scripted: Callable[[Behaviour], Scripted]
) -> None:
    target = scripted(answers()).target
    done = cli("health", "--address", target)
    assert done == Outcome(1, "", "error: UNIMPLEMENTED: Method not found!\n")


def test_the_address_from_the_environment(
    cli: Cli, toy_server: Running, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANAGERIE_HEALTH_ADDRESS", toy_server.grpc)
    assert cli("health").code == 0
    assert cli("health", "--address", nobody).code == 1


def test_a_proxy_is_not_asked(
    cli: Cli, toy_server: Running, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://{nobody}")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert cli("health", "--address", toy_server.grpc).code == 0


@pytest.mark.parametrize(("given", "code"), [("0.09", 2), ("0.1", 1), ("600", 1), ("601", 2)])
def test_the_deadline_has_limits(cli: Cli, nobody: str, given: str, code: int) -> None:
    assert cli("health", "--address", nobody, "--timeout-s", given).code == code


@pytest.fixture(scope="module")
def tls(toy_zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """A server that wants a certificate and an API key, and the flags that it takes to ask it."""
    authority = Authority(tmp_path_factory.mktemp("authority"), "one")
    issued, own = authority.issue("server"), authority.issue("client")
    keys = authority.ca.with_name("keys")
    keys.write_text("alice correct-horse-battery\n")
    files: Any = {"tls_cert": issued.cert, "tls_key": issued.key, "tls_client_ca": authority.ca}
    with server_in_thread(toy_zoo, api_keys=keys, **files) as running:
        yield (
            running.grpc,
            ["--tls-ca", authority.ca, "--tls-cert", own.cert, "--tls-key", own.key],
        )


def test_tls_and_no_key(cli: Cli, tls: tuple[str, Any]) -> None:
    address, flags = tls
    assert cli("health", "--address", address, *flags).code == 0
    assert cli("health", "--address", address, *flags[:2]).code == 1
    assert cli("health", "--address", address).code == 1


def test_tls_by_another_name(cli: Cli, tls: tuple[str, Any]) -> None:
    address, flags = tls
    assert cli("health", "--address", address, *flags, "--tls-name", "localhost").code == 0
    done = cli("health", "--address", address, *flags, "--tls-name", "elsewhere.example")
    assert done.code == 1


def test_tls_from_the_environment(
    cli: Cli, tls: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, flags = tls
    for flag, value in zip(flags[::2], flags[1::2], strict=True):
        monkeypatch.setenv(f"GANAGERIE_HEALTH_{flag[2:].replace('-', '_').upper()}", str(value))
    assert cli("health", "--address", address).code == 0


def test_its_variables_are_no_misspelt_settings_of_the_server(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set(re.findall(r"GANAGERIE_HEALTH_[A-Z_]+", cli("health", "--help").out))
    assert len(names) == 8  # of the seven flags, and NAME for all of them
    for name in names:
        monkeypatch.setenv(name, "x")
    assert misspelt_settings() == {}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["--tls-name", "x"], "--tls-name: needs --tls or --tls-ca beside it"),
        (["--tls-ca", "/none"], "tls_ca: /none: cannot be read: No such file or directory"),
        (["--tls-cert", "x"], "tls_cert: needs tls_key beside it"),
    ],
)
def test_what_cannot_be_used(cli: Cli, nobody: str, given: list[str], text: str) -> None:
    assert cli("health", "--address", nobody, *given) == Outcome(1, "", f"error: {text}\n")


def test_it_loads_nothing_heavy(toy_server: Running) -> None:
    code = (
        "import sys; from ganagerie.cli import main\n"
        f"sys.argv = ['ganagerie', 'health', '--address', '{toy_server.grpc}']\n"
        "try: main()\nexcept SystemExit: print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    said, loaded = done.stdout.splitlines()
    assert said == f"{toy_server.grpc} is SERVING"
    heavy = {"torch", "onnxruntime", "onnx", "scipy", "uvicorn", "starlette"}
    assert "grpc" in loaded.split()
    assert {*loaded.split()} & heavy == set()
