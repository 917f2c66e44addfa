"""`ganagerie generate --target` and the clients where the server asks for TLS and a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ganagerie import AsyncClient, Client
from ganagerie.errors import Unauthenticated
from tests.certificates import Authority, Issued
from tests.ganagerie.conftest import Cli
from tests.serving import Running, server_in_thread
from zoo.errors import InvalidRequest

KEY = "correct-horse-battery"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "one")


@pytest.fixture(scope="module")
def own(authority: Authority) -> Issued:
    return authority.issue("client")


@pytest.fixture(scope="module")
def secured(toy_zoo: Path, authority: Authority) -> Iterator[Running]:
    """Wants a certificate and a key."""
    issued, keys = authority.issue("server"), authority.ca.with_name("keys")
    keys.write_text(f"alice {KEY}\n")
    files = {"tls_cert": issued.cert, "tls_key": issued.key, "tls_client_ca": authority.ca}
    with server_in_thread(toy_zoo, api_keys=keys, **files) as running:
        yield running


@pytest.fixture
def secured_by(secured: Running, authority: Authority, own: Issued, tmp_path: Path) -> list[Any]:
    """Arguments that it takes to get through, but for the key."""
    tls = ["--tls-ca", authority.ca, "--tls-cert", own.cert, "--tls-key", own.key]
    return ["-o", tmp_path / "a.png", "--target", secured.grpc, *tls]


def test_a_key_from_a_file_or_from_the_environment(
    cli: Cli, secured_by: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text(f" {KEY}\n")
    assert cli("generate", "letters", *secured_by, "--api-key-file", file).code == 0
    done = cli("generate", "letters", "--every-class", *secured_by, "--api-key-file", file)
    assert done.code == 0
    monkeypatch.setenv("GANAGERIE_API_KEY", KEY)
    assert cli("generate", "plain", *secured_by).code == 0
    file.write_text("incorrect-horse-battery")  # the flag wins
    assert cli("generate", "plain", *secured_by, "--api-key-file", file).code == 2


def test_without_a_key_it_is_told_how(cli: Cli, secured: Running, secured_by: list[Any]) -> None:
    done = cli("generate", "plain", *secured_by)
    assert (done.code, done.err) == (
        2,
        f"error: {secured.grpc}: no API key; send it as metadata 'authorization': 'Bearer KEY'\n",
    )


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("security", "text"),
    [
        ({"tls_ca": "/none"}, "tls_ca: /none: cannot be read: No such file or directory"),
        ({"tls_cert": "x"}, "tls_cert: needs tls_key beside it"),
        ({"tls_key": "x"}, "tls_key: needs tls_cert beside it"),
        ({"tls_ca": __file__}, f"tls_ca: {__file__}: is not PEM"),
        ({"api_key": "two words"}, "api_key: must be visible ASCII characters, without spaces"),
        ({"api_key": ""}, "api_key: must be visible ASCII characters, without spaces"),
        ({"api_key": "new\nline"}, "api_key: must be visible ASCII characters, without spaces"),
    ],
)
def test_what_a_client_cannot_use(client: Any, security: dict[str, str], text: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        client("127.0.0.1:1", **security)
    assert str(raised.value) == text


def test_an_unknown_argument_is_an_error() -> None:
    with pytest.raises(TypeError, match="tsl_ca"):
        Client(tsl_ca="x")  # type: ignore[call-arg]  # that is the point


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "must hold one key and nothing else"),
        (f"alice {KEY}".encode(), "must hold one key and nothing else"),
        (b"\xff", "cannot be read: it is not text"),
    ],
)
def test_a_key_file_that_is_none(
    cli: Cli, secured_by: list[Any], tmp_path: Path, content: bytes | None, text: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    done = cli("generate", "plain", *secured_by, "--api-key-file", file)
    assert (done.code, done.err) == (2, f"error: --api-key-file: {file}: {text}\n")


@pytest.mark.parametrize(
    "given", [["--tls"], ["--tls-ca", "x"], ["--tls-cert", "x"], ["--api-key-file", "x"]]
)
def test_security_is_for_a_server(cli: Cli, tmp_path: Path, given: list[str]) -> None:
    done = cli("generate", "plain", "-o", tmp_path / "a.png", *given)
    assert (done.code, done.err) == (2, f"error: {given[0]}: needs --target beside it\n")


def test_a_key_is_sent_to_a_plain_server_too(toy_zoo: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"alice {KEY}\n")
    with server_in_thread(toy_zoo, api_keys=keys) as running:
        with Client(running.grpc, api_key=KEY) as client:
            assert client.models()
        with Client(running.grpc) as client, pytest.raises(Unauthenticated):
            client.models()
