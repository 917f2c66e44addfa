"""What a server says of itself where other machines can call it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from server.security import is_loopback
from tests.certificates import Authority
from tests.server.calls import connect, fetch
from tests.serving import server_in_thread

PUBLIC = "0.0.0.0"  # noqa: S104  that is the point
READ = "anybody on the way can read and change what is sent"
CALL = "anybody who reaches the port can call"
ADD_TLS, ADD_KEYS = "--tls-cert and --tls-key", "--api-keys, or --tls-client-ca"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    authority = Authority(folder, "one")
    issued, keys = authority.issue("server"), folder / "keys"
    keys.write_text("alice correct-horse-battery")
    return {
        "tls_cert": issued.cert,
        "tls_key": issued.key,
        "tls_client_ca": authority.ca,
        "api_keys": keys,
    }


TLS, MUTUAL = ("tls_cert", "tls_key"), ("tls_cert", "tls_key", "tls_client_ca")


@pytest.mark.parametrize(
    ("host", "given", "text", "add"),
    [
        (PUBLIC, (), f"{READ}; {CALL}", f"{ADD_TLS} and {ADD_KEYS}"),
        (PUBLIC, TLS, CALL, ADD_KEYS),
        (PUBLIC, ("api_keys",), READ, ADD_TLS),
        (PUBLIC, (*TLS, "api_keys"), "", ""),
        (PUBLIC, MUTUAL, "", ""),
        ("127.0.0.1", (), "", ""),
    ],
)
def test_an_open_port_is_told_once_with_what_to_add(
    toy_zoo: Path,
    files: dict[str, Path],
    host: str,
    given: tuple[str, ...],
    text: str,
    add: str,
) -> None:
    settings: Any = {"host": host, **{name: files[name] for name in given}}
    with (
        structlog.testing.capture_logs() as events,
        server_in_thread(toy_zoo, **settings) as running,
    ):
        pass
    warnings = [event for event in events if event["log_level"] == "warning"]
    expected = {
        "event": f"THE PORT IS OPEN TO OTHER MACHINES: {text}",
        "log_level": "warning",
        "grpc": running.grpc,
        "add": add,
    }
    assert warnings == ([expected] if text else [])


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("localhost", True),
        (PUBLIC, False),
        ("::", False),
        ("128.0.0.1", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_which_addresses_are_this_machines_own(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_http_can_have_an_address_of_its_own(toy_zoo: Path) -> None:
    hosts: Any = {"host": "127.0.0.1", "http_host": "127.0.0.2"}
    with server_in_thread(toy_zoo, **hosts) as running, connect(running.grpc) as stubs:
        assert running.grpc.startswith("127.0.0.1:")
        assert running.http.startswith("127.0.0.2:")
        assert fetch(running.http, "/readyz")[0] == 200
        assert stubs.generate("plain")


def test_http_stays_plain_on_its_own_address_where_grpc_has_tls(
    toy_zoo: Path, files: dict[str, Path]
) -> None:
    settings: Any = {name: files[name] for name in MUTUAL} | {"http_host": "127.0.0.2"}
    with server_in_thread(toy_zoo, **settings) as running:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert fetch(running.http, path)[0] == 200
        with pytest.raises(OSError, match="refused"):
            fetch(running.http.replace("127.0.0.2", "127.0.0.1"), "/metrics")
