"""`ganagerie serve`: flags, environment, and how it ends."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import server.app
from ganagerie import Client
from server.config import ServeConfig
from tests.ganagerie.conftest import Cli
from tests.serving import server_process

# Two values of each setting, as people write them: one for the flag, one for the environment.
SETTINGS = {
    "host": ("0.0.0.0", "::1"),  # noqa: S104  nothing listens
    "http_host": ("::", "127.0.0.2"),
    "port": ("0", "65535"),
    "http_port": ("65535", "0"),
    "zoo": ("here", "there"),
    "device": ("cpu", "cuda"),
    "max_count": ("1", "65536"),
    "max_batch": ("4096", "1"),
    "max_batch_ms": ("0.5", "60000.0"),
    "max_queue_images": ("1", "99999"),
    "max_queue_bytes": ("16777216", "99999999"),
    "max_queue_delay_ms": ("2.5", "10000.0"),
    "cache_bytes": ("1", "99999999"),
    "gpus": ("1", "0,1"),
    "tf32": ("True", "False"),
    "runners": ("256", "1"),
    "watch": ("True", "False"),
    "watch_interval_s": ("0.01", "3600.0"),
    "max_loaded_models": ("1", "1000000"),
    "max_model_bytes": ("1", "999999999"),
    "shutdown_delay_s": ("0.5", "3600.0"),
    "grace_s": ("0.0", "3600.0"),
    "log_format": ("json", "console"),
    "traces": ("otlp", "off"),
    "tls_cert": ("cert.pem", "other.pem"),
    "tls_key": ("key.pem", "other.key"),
    "tls_client_ca": ("ca.pem", "other-ca.pem"),
    "api_keys": ("keys", "other-keys"),
    "admin": ("True", "True"),
    "admin_keys": ("admin-keys", "other-admin-keys"),
    "max_in_flight_per_key": ("1", "1000"),
    "max_request_bytes": ("1024", "65536"),
    "max_metadata_bytes": ("1048576", "1024"),
    "max_streams": ("1", "100"),
    "max_connection_age_s": ("0.5", "3600.0"),
    "max_connection_age_grace_s": ("0.0", "60.0"),
    "min_ping_interval_s": ("0.0", "10.0"),
}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def given(name: str, value: str) -> list[str]:
    is_switch = ServeConfig.model_fields[name].annotation is bool
    return [_flag(name), *([] if is_switch else [value])]


def _texts(config: ServeConfig) -> dict[str, str]:
    return {name: str(value) for name, value in config.model_dump().items()}


def test_table_has_every_setting() -> None:
    assert set(SETTINGS) == set(ServeConfig.model_fields)


def test_help_shows_every_setting(cli: Cli) -> None:
    done = cli("serve", "--help")
    assert done.code == 0
    shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.out).split())
    for name, field in ServeConfig.model_fields.items():
        assert f" {_flag(name)} " in shown
        assert field.description is not None
        assert field.description in shown


def test_flags_are_settings(cli: Cli, served: list[ServeConfig]) -> None:
    flags = [text for name, (value, _) in SETTINGS.items() for text in given(name, value)]
    assert cli("serve", *flags).code == 0
    assert [_texts(config) for config in served] == [{k: v for k, (v, _) in SETTINGS.items()}]


def test_environment_is_settings(
    cli: Cli, served: list[ServeConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, (_, value) in SETTINGS.items():
        monkeypatch.setenv(f"GANAGERIE_{name.upper()}", value)
    assert cli("serve").code == 0
    assert [_texts(config) for config in served] == [{k: v for k, (_, v) in SETTINGS.items()}]


@pytest.mark.parametrize("name", SETTINGS)
def test_flag_beats_environment(
    cli: Cli, served: list[ServeConfig], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for other, (_, value) in SETTINGS.items():
        monkeypatch.setenv(f"GANAGERIE_{other.upper()}", value)
    assert cli("serve", *given(name, SETTINGS[name][0])).code == 0
    wanted = {k: flag if k == name else environment for k, (flag, environment) in SETTINGS.items()}
    assert _texts(served[0]) == wanted


def test_defaults(cli: Cli, served: list[ServeConfig]) -> None:
    assert cli("serve").code == 0
    assert served == [ServeConfig()]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("port", "70000", "70000: Input should be less than or equal to 65535"),
        ("port", "65536", "65536: Input should be less than or equal to 65535"),
        ("port", "-1", "-1: Input should be greater than or equal to 0"),
        ("http_port", "65536", "65536: Input should be less than or equal to 65535"),
        ("http_port", "-1", "-1: Input should be greater than or equal to 0"),
        ("max_count", "0", "0: Input should be greater than or equal to 1"),
        ("max_count", "65537", "65537: Input should be less than or equal to 65536"),
        ("max_batch", "0", "0: Input should be greater than or equal to 1"),
        ("max_batch", "4097", "4097: Input should be less than or equal to 4096"),
        ("max_queue_images", "0", "0: Input should be greater than or equal to 1"),
        ("runners", "0", "0: Input should be greater than or equal to 1"),
        ("runners", "257", "257: Input should be less than or equal to 256"),
        ("grace_s", "-0.5", "-0.5: Input should be greater than or equal to 0"),
        ("grace_s", "3600.5", "3600.5: Input should be less than or equal to 3600"),
        ("grace_s", "nan", "nan: Input should be less than or equal to 3600"),
        ("device", "tpu", "'tpu': Input should be 'auto', 'cpu' or 'cuda'"),
        ("log_format", "xml", "'xml': Input should be 'auto', 'console' or 'json'"),
    ],
)
def test_bad_value_names_its_flag_or_its_variable(
    cli: Cli,
    served: list[ServeConfig],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    text: str,
) -> None:
    done = cli("serve", _flag(name), value)
    assert (done.code, done.out, done.err) == (2, "", f"error: {_flag(name)}: {text}\n")
    variable = f"GANAGERIE_{name.upper()}"
    monkeypatch.setenv(variable, value)
    done = cli("serve", "--host", "127.0.0.1")
    quoted = text if text.startswith("'") else text.replace(value, f"'{value}'", 1)
    assert (done.code, done.out, done.err) == (2, "", f"error: {variable}: {quoted}\n")
    assert cli("serve", *given(name, SETTINGS[name][0])).code == 0
    assert len(served) == 1


@pytest.mark.parametrize("arguments", [["--port", "ssh"], ["--grace-s", "long"]])
def test_flag_that_is_no_number(cli: Cli, served: list[ServeConfig], arguments: list[str]) -> None:
    done = cli("serve", *arguments)
    assert (done.code, done.out, served) == (2, "", [])
    assert f"Invalid value for '{arguments[0]}'" in done.err


def test_variable_that_is_no_number(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANAGERIE_PORT", "ssh")
    done = cli("serve")
    assert done.code == 2
    assert done.err == (
        "error: GANAGERIE_PORT: 'ssh': Input should be a valid integer, "
        "unable to parse string as an integer\n"
    )


def test_zoo_that_is_not_there(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.app, "configure_logging", lambda _: None)
    done = cli("serve", "--zoo", "nowhere", "--port", 0, "--http-port", 0)
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: zoo nowhere: cannot be read: No such file or directory\n"


def test_no_runtime(cli: Cli, toy_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.app, "configure_logging", lambda _: None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = cli("serve", "--zoo", toy_zoo, "--port", 0, "--http-port", 0)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: onnxruntime is not installed: pip install 'ganagerie[cpu]' for CPUs, "
        "or 'ganagerie[gpu]' for CUDA (one of them, not both)\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_well(toy_zoo: Path, number: signal.Signals) -> None:
    with server_process(toy_zoo) as running:
        process: Any = running.process
        with Client(running.grpc) as client:
            assert len(client.generate("plain", count=2)) == 2
        process.send_signal(number)
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()
