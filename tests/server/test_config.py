"""The settings of `ganagerie serve`: where they come from and what they may be."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import ValidationError

from ganagerie import cli
from server.config import ServeConfig, misspelt_settings
from tests.server.calls import connect
from tests.serving import server_in_thread
from zoo.catalog import BUNDLED


class Command:
    """`ganagerie serve`, up to the point where the server would start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self._started: list[ServeConfig] = []

        async def fake(config: ServeConfig) -> None:
            self._started.append(config)

        monkeypatch.setattr("server.app.serve", fake)

    def _run(self, *arguments: str) -> Any:
        self._monkeypatch.setattr(sys, "argv", ["ganagerie", "serve", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0

    def starts(self, *arguments: str) -> ServeConfig:
        """The settings that the server would start with."""
        assert self._run(*arguments) == 0
        return self._started.pop()

    def says(self, *arguments: str, code: int = 2) -> str:
        """What it writes where no server starts."""
        assert self._run(*arguments) == code
        assert not self._started
        written = self._capsys.readouterr()
        return re.sub(r"\x1b\[[0-9;]*m", "", written.err if code else written.out)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_defaults_are_for_one_machine(serve: Command) -> None:
    assert serve.starts().model_dump() == {
        "host": "127.0.0.1",
        "http_host": None,
        "port": 50051,
        "http_port": 8080,
        "zoo": BUNDLED,
        "device": "auto",
        "max_count": 4096,
        "max_batch": 256,
        "max_batch_ms": 25.0,
        "max_queue_images": 16384,
        "max_queue_bytes": 256 * 1024 * 1024,
        "max_queue_delay_ms": 0.0,
        "cache_bytes": 0,
        "gpus": "0",
        "tf32": False,
        "runners": len(os.sched_getaffinity(0)),
        "watch": False,
        "watch_interval_s": 2.0,
        "max_loaded_models": 0,
        "max_model_bytes": 0,
        "shutdown_delay_s": 0.0,
        "grace_s": 30.0,
        "log_format": "auto",
        "traces": "off",
        "tls_cert": None,
        "tls_key": None,
        "tls_client_ca": None,
        "api_keys": None,
        "admin": False,
        "admin_keys": None,
        "max_in_flight_per_key": 0,
        "max_request_bytes": 4 * 1024 * 1024,
        "max_metadata_bytes": 16384,
        "max_streams": 1024,
        "max_connection_age_s": 0.0,
        "max_connection_age_grace_s": 30.0,
        "min_ping_interval_s": 30.0,
    }


OTHER = {
    "host": "0.0.0.0",  # noqa: S104  nothing listens here
    "http_host": "::",
    "port": "1",
    "http_port": "2",
    "zoo": "somewhere",
    "device": "cpu",
    "max_count": "3",
    "max_batch": "4",
    "max_batch_ms": "5.5",
    "max_queue_images": "20000",
    "max_queue_bytes": "20000000",
    "max_queue_delay_ms": "1.5",
    "cache_bytes": "1000000",
    "gpus": "0,1",
    "tf32": "True",
    "runners": "6",
    "watch": "True",
    "watch_interval_s": "0.5",
    "max_loaded_models": "2",
    "max_model_bytes": "1000",
    "shutdown_delay_s": "3.5",
    "grace_s": "7.5",
    "log_format": "json",
    "traces": "otlp",
    "tls_cert": "cert.pem",
    "tls_key": "key.pem",
    "tls_client_ca": "ca.pem",
    "api_keys": "keys",
    "admin": "True",
    "admin_keys": "admin-keys",
    "max_in_flight_per_key": "8",
    "max_request_bytes": "9999",
    "max_metadata_bytes": "9998",
    "max_streams": "9",
    "max_connection_age_s": "60.5",
    "max_connection_age_grace_s": "1.5",
    "min_ping_interval_s": "2.5",
}
BESIDE = {  # what a setting needs
    "tls_cert": ["--tls-key", "k"],
    "tls_key": ["--tls-cert", "c"],
    "tls_client_ca": ["--tls-cert", "c", "--tls-key", "k"],
    "max_in_flight_per_key": ["--api-keys", "a"],
    "admin": ["--api-keys", "a", "--admin-keys", "b"],
    "admin_keys": ["--api-keys", "a", "--admin"],
}


def flag(name: str, value: str) -> list[str]:
    is_switch = ServeConfig.model_fields[name].annotation is bool
    return [f"--{name.replace('_', '-')}", *([] if is_switch else [value])]


def test_every_setting_is_tried_below() -> None:
    assert set(OTHER) == set(ServeConfig.model_fields)


@pytest.mark.parametrize("name", OTHER)
def test_a_flag_beats_the_environment_which_beats_the_default(
    serve: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    beside = BESIDE.get(name, [])
    default = getattr(serve.starts(), name)
    another = "another" if default is None else str(default)
    by_flag = getattr(serve.starts(*flag(name, OTHER[name]), *beside), name)
    assert str(by_flag) == OTHER[name] != str(default)
    monkeypatch.setenv(f"GANAGERIE_{name.upper()}", OTHER[name])
    assert getattr(serve.starts(*beside), name) == by_flag
    if another != "False":  # a switch is left out to be off
        assert str(getattr(serve.starts(*flag(name, another), *beside), name)) == another
    else:
        monkeypatch.setenv(f"GANAGERIE_{name.upper()}", another)
        assert str(getattr(serve.starts(*flag(name, "True"), *beside), name)) == "True"


def test_one_setting_by_environment_leaves_the_others(
    serve: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANAGERIE_MAX_BATCH", "8")
    config = serve.starts("--max-count", "9")
    assert (config.max_batch, config.max_count, config.port) == (8, 9, 50051)


def test_an_unknown_setting_is_an_error() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        ServeConfig(prot=1)  # type: ignore[call-arg]  # that is the point


def test_settings_do_not_change_after_the_start() -> None:
    config = ServeConfig()
    with pytest.raises(ValidationError, match="Instance is frozen"):
        config.port = 1  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--port", "70000"], "--port: 70000: Input should be less than or equal to 65535"),
        (["--http-port", "-1"], "--http-port: -1: Input should be greater than or equal to 0"),
        (["--grace-s", "nan"], "--grace-s: nan: Input should be "),
        (["--device", "gpu"], "--device: 'gpu': Input should be 'auto', 'cpu' or 'cuda'"),
        (
            ["--log-format", "text"],
            "--log-format: 'text': Input should be 'auto', 'console' or 'json'",
        ),
    ],
)
def test_a_flag_that_cannot_be_is_one_line_that_names_it(
    serve: Command, arguments: list[str], text: str
) -> None:
    shown = serve.says(*arguments)
    assert shown.startswith(f"error: {text}")
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("PORT", "70000", "'70000': Input should be less than or equal to 65535"),
        ("PORT", "x", "'x': Input should be a valid integer"),
        ("RUNNERS", "0", "'0': Input should be greater than or equal to 1"),
        ("GRACE_S", "", "'': Input should be a valid number"),
    ],
)
def test_a_variable_that_cannot_be_is_one_line_that_names_it(
    serve: Command,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    text: str,
) -> None:
    monkeypatch.setenv(f"GANAGERIE_{name}", value)
    shown = serve.says()
    assert shown.startswith(f"error: GANAGERIE_{name}: {text}")
    assert shown.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--prot", "1"], ["--port", "x"], ["extra"]])
def test_a_mistyped_command_line_is_refused(serve: Command, arguments: list[str]) -> None:
    shown = serve.says(*arguments)
    assert arguments[0] in shown
    assert "Traceback" not in shown


def test_help_names_every_flag(serve: Command) -> None:
    shown = serve.says("--help", code=0)
    for name, field in ServeConfig.model_fields.items():
        assert f"--{name.replace('_', '-')}" in shown
        assert (field.description or "").split()[0] in shown


def test_a_request_that_the_queue_can_never_hold_is_not_told_to_try_again(toy_zoo: Path) -> None:
    try:
        ServeConfig(max_count=10, max_queue_images=5)
    except ValidationError:
        return  # refused at the start: as good
    server = server_in_thread(toy_zoo, max_count=10, max_queue_images=5)
    with server as running, connect(running.grpc) as stubs:
        try:
            assert len(stubs.generate("plain", count=10)) == 10
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
    assert code in {"OK", "INVALID_ARGUMENT"}


def test_a_misspelt_variable_is_found_and_foreign_ones_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GANAGERIE_MAX_BACTH", "4")
    monkeypatch.setenv("GANAGERIE_MAX_COUNT", "4")
    monkeypatch.setenv("GANAGERIE_SERVICE_HOST", "10.0.0.1")  # as Kubernetes sets it
    monkeypatch.setenv("GANAGERIE_API_KEY", "correct-horse-battery")  # of `ganagerie generate`
    assert misspelt_settings() == {"GANAGERIE_MAX_BACTH": "GANAGERIE_MAX_BATCH"}
