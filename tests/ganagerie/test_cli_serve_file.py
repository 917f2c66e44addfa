"""Settings from a TOML file, and `--print-config`, which writes one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from server.config import ServeConfig
from server.config_file import load_config, to_toml
from server.errors import ConfigError
from tests.ganagerie.conftest import Cli
from tests.ganagerie.test_cli_serve import SETTINGS, given


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "serve.toml"
    file.write_text("port = 1\nmax_batch = 2\nrunners = 3\n")
    return file


def test_flags_beat_variables_beat_the_file_beats_defaults(
    cli: Cli,
    served: list[ServeConfig],
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GANAGERIE_MAX_BATCH", "20")
    monkeypatch.setenv("GANAGERIE_RUNNERS", "30")
    assert cli("serve", "--config", file, "--runners", 200).code == 0
    (config,) = served
    wanted = {"port": 1, "max_batch": 20, "runners": 200, "max_count": 4096}
    assert {name: getattr(config, name) for name in wanted} == wanted


def test_the_file_can_be_named_by_a_variable_and_a_flag_wins(
    cli: Cli,
    served: list[ServeConfig],
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = tmp_path / "other.toml"
    other.write_text("port = 7")
    monkeypatch.setenv("GANAGERIE_CONFIG", str(file))
    assert (cli("serve").code, cli("serve", "--config", other).code) == (0, 0)
    assert [config.port for config in served] == [1, 7]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("prot = 1", "'prot' is not a setting; the nearest is port"),
        ("http-port = 1", "'http-port' is not a setting; the nearest is http_port"),
        ("tls_certificate = ''", "'tls_certificate' is not a setting; the nearest is tls_cert"),
        ("[limits]\nmax_count = 1", "'limits' is not a setting; the nearest is "),
        ("port = 70000", "port: 70000: Input should be less than or equal to 65535"),
        ("port = 'ssh'", "port: 'ssh': Input should be a valid integer"),
        ("port = true", "port: true is not allowed"),
        ("watch = 'often'", "watch: 'often': Input should be a valid boolean"),
        ("host = 1", "host: 1: Input should be a valid string"),
        ("api_keys = ''", "api_keys: '': is empty; name a file, or leave it out"),
        ("port = ", "is not TOML: Invalid value (at end of document)"),
        ("port = 1\nport = 2", "is not TOML: Cannot overwrite a value (at "),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_file(
    cli: Cli,
    served: list[ServeConfig],
    file: Path,
    content: str,
    text: str,
) -> None:
    file.write_text(content)
    done = cli("serve", "--config", file)
    assert (done.code, done.out, served) == (2, "", [])
    assert done.err.startswith(f"error: {file}: {text}")
    assert done.err.count("\n") == 1


def test_switches_are_true_or_false(
    cli: Cli, served: list[ServeConfig], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in ("", "watch = false", "watch = true"):
        file.write_text(content)
        assert cli("serve", "--config", file).code == 0
    monkeypatch.setenv("GANAGERIE_WATCH", "false")
    assert cli("serve", "--config", file).code == 0
    assert cli("serve", "--config", file, "--watch").code == 0
    assert [config.watch for config in served] == [False, False, True, False, True]


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    with pytest.raises(ConfigError) as raised:
        load_config({}, missing)
    assert str(raised.value) == f"{missing}: cannot be read: No such file or directory"
    missing.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not TOML: "):
        load_config({}, missing)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"tls_cert": "c"}, "tls_cert needs tls_key beside it"),
        ({"tls_key": "k"}, "tls_key needs tls_cert beside it"),
        ({"tls_client_ca": "c"}, "tls_client_ca needs tls_cert beside it"),
        ({"max_in_flight_per_key": 1}, "max_in_flight_per_key needs api_keys beside it"),
        ({"admin": True}, "admin needs api_keys beside it"),
        ({"admin": True, "api_keys": "k"}, "admin needs admin_keys beside it"),
        ({"api_keys": "k", "admin_keys": "a"}, "admin_keys needs admin beside it"),
        ({"tls_cert": ""}, "--tls-cert: '': is empty; name a file, or leave it out"),
    ],
)
def test_settings_that_need_another(flags: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(flags)
    assert str(raised.value) == text


def test_an_empty_variable_is_no_server_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANAGERIE_API_KEYS", "")
    with pytest.raises(ConfigError) as raised:
        load_config({})
    assert str(raised.value) == "GANAGERIE_API_KEYS: '': is empty; name a file, or leave it out"


def test_paths_in_the_file_are_beside_it(file: Path) -> None:
    file.write_text("zoo = 'my-zoo'\napi_keys = '/etc/keys'")
    config = load_config({}, file)
    assert (config.zoo, config.api_keys) == (file.parent / "my-zoo", Path("/etc/keys"))
    assert load_config({"zoo": "here"}, file).zoo == Path("here")


def test_what_is_printed_can_be_fed_back(
    cli: Cli,
    served: list[ServeConfig],
    file: Path,
) -> None:
    values = {name: value for name, (value, _) in SETTINGS.items() if name != "zoo"}
    flags = [text for name, value in values.items() for text in given(name, value)]
    printed = cli("serve", "--print-config", "--zoo", 'a "zoo" of\u2603\\', *flags)
    assert (printed.code, printed.err, served) == (0, "", [])
    assert set(tomllib.loads(printed.out)) == set(ServeConfig.model_fields)
    file.write_text(printed.out)
    assert cli("serve", "--config", file, "--print-config").out == printed.out
    assert cli("serve", "--config", file).code == 0
    plain = {k: v for k, v in values.items() if not k.endswith(("keys", "cert", "_key", "_ca"))}
    assert {name: str(getattr(served[0], name)) for name in plain} == plain
    assert served[0].tls_cert == Path("cert.pem").absolute()


def test_what_is_not_set_is_printed_as_a_comment() -> None:
    printed = to_toml(ServeConfig())
    assert "# tls_cert is not set\n" in printed
    unset = {name for name, value in ServeConfig().model_dump().items() if value is None}
    assert set(tomllib.loads(printed)) == set(ServeConfig.model_fields) - unset


def test_of_secrets_only_the_files_names_are_printed(
    cli: Cli,
    tmp_path: Path,
) -> None:
    secret = tmp_path / "keys"
    secret.write_text("alice never-to-be-printed")
    printed = cli("serve", "--print-config", "--api-keys", secret).out
    assert f'api_keys = "{secret}"' in printed
    assert "never-to-be-printed" not in printed
