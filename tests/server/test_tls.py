"""TLS on the gRPC port: who gets through, and what happens when the files change."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog.testing
from grpc_health.v1 import health_pb2

from ganagerie import AsyncClient, Client
from ganagerie.errors import ServerUnavailable
from server.errors import CredentialsError
from tests.certificates import Authority, Issued, lock, replace
from tests.server.calls import TIMEOUT_S, Stubs, connect, fetch, metric, refusal, until
from tests.serving import Running, server_in_thread


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("one"), "one")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "other")


@pytest.fixture(scope="module")
def secured(toy_zoo: Path, one: Authority) -> Iterator[Running]:
    issued = one.issue("server")
    with server_in_thread(toy_zoo, tls_cert=issued.cert, tls_key=issued.key) as running:
        yield running


@contextmanager
def connect_tls(address: str, ca: Path, client: Issued | None = None) -> Iterator[Stubs]:
    """A connection of its own, not one that another channel has left."""
    own = (client.key.read_bytes(), client.cert.read_bytes()) if client else ()
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), *own)
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(address, credentials, options) as channel:
        yield Stubs(channel)


def test_who_trusts_the_authority_gets_through(secured: Running, one: Authority) -> None:
    with Client(secured.grpc, tls_ca=one.ca) as client:
        assert len(client.generate("plain", count=2)) == 2
        assert len(list(client.stream("plain", count=2))) == 2

    async def ask() -> int:
        async with AsyncClient(secured.grpc, tls_ca=str(one.ca)) as client:
            return len(await client.generate("plain", count=3))

    assert asyncio.run(ask()) == 3
    with connect_tls(secured.grpc, one.ca) as stubs:
        checked: Any = stubs.health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert checked.status == health_pb2.HealthCheckResponse.SERVING


def test_probes_and_metrics_stay_plain(secured: Running) -> None:
    assert fetch(secured.http, "/readyz")[0] == 200
    assert metric(secured.http, "ganagerie_queue_images") == 0


@pytest.mark.parametrize("how", ["another authority", "the usual authorities"])
def test_who_does_not_trust_the_authority_is_told_so(
    secured: Running, other: Authority, how: str
) -> None:
    given: Any = {"tls_ca": other.ca} if how == "another authority" else {"tls": True}
    with Client(secured.grpc, **given) as client, pytest.raises(ServerUnavailable) as raised:
        client.generate("plain")
    assert re.fullmatch(
        rf"{secured.grpc} does not answer \(.*CERTIFICATE_VERIFY_FAILED.*\); "
        r"the TLS settings of client and server do not agree \(tls_ca, tls_cert\)",
        str(raised.value),
    )


def test_a_plain_client_gets_nothing_and_a_hint(secured: Running) -> None:
    with connect(secured.grpc) as stubs:
        assert refusal(lambda: stubs.generate("plain")).code == "UNAVAILABLE"
    with Client(secured.grpc) as client, pytest.raises(ServerUnavailable) as raised:
        client.generate("plain")
    assert re.fullmatch(
        rf"{secured.grpc} does not answer \(.*fail.*Socket closed\); "
        r"does the server ask for TLS \(tls_ca\), or for a certificate \(tls_cert\)\?",
        str(raised.value),
    )


def test_a_secure_client_does_not_fall_back_to_plain(toy_server: Running, one: Authority) -> None:
    with Client(toy_server.grpc, tls_ca=one.ca) as client, pytest.raises(ServerUnavailable):
        client.generate("plain")


def test_garbage_instead_of_a_handshake_does_no_harm(secured: Running, one: Authority) -> None:
    host, port = secured.grpc.split(":")
    for garbage in (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 70_000):
        with socket.create_connection((host, int(port))) as hostile:
            hostile.sendall(garbage)
    with Client(secured.grpc, tls_ca=one.ca) as client:
        assert client.generate("plain")


@pytest.fixture(scope="module")
def mutual(toy_zoo: Path, one: Authority, other: Authority) -> Iterator[Running]:
    """The server is vouched for by `one`, its clients by `other`."""
    issued = one.issue("server")
    files = {"tls_cert": issued.cert, "tls_key": issued.key, "tls_client_ca": other.ca}
    with server_in_thread(toy_zoo, **files) as running:
        yield running


def ask(running: Running, one: Authority, client: Issued | None) -> int:
    own: Any = {"tls_cert": client.cert, "tls_key": client.key} if client else {}
    with Client(running.grpc, tls_ca=one.ca, **own) as caller:
        return len(caller.generate("plain"))


def test_a_client_shows_its_certificate(mutual: Running, one: Authority, other: Authority) -> None:
    assert ask(mutual, one, other.issue("client")) == 1


@pytest.mark.parametrize("which", ["none", "of another authority"])
def test_a_client_without_the_right_certificate_gets_nothing(
    mutual: Running, one: Authority, which: str
) -> None:
    with pytest.raises(ServerUnavailable):
        ask(mutual, one, None if which == "none" else one.issue("impostor"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed files are seen soon."""
    monkeypatch.setattr("server.reloading.INTERVAL_S", 0.02)


@pytest.fixture
def served(tmp_path: Path, one: Authority) -> Issued:
    """Files of a server's own, to be replaced."""
    issued, own = one.issue("first"), Issued(tmp_path / "cert.pem", tmp_path / "key.pem")
    replace(own.cert, issued.cert)
    replace(own.key, issued.key)
    return own


def shown(running: Running) -> str:
    """The certificate that a new connection sees."""
    host, port = running.grpc.split(":")
    return ssl.get_server_certificate((host, int(port)), timeout=TIMEOUT_S).strip()


@pytest.mark.usefixtures("quick")
def test_new_files_are_for_new_connections_and_old_ones_go_on(
    noise_zoo: Path, one: Authority, other: Authority, served: Issued
) -> None:
    server = server_in_thread(noise_zoo, tls_cert=served.cert, tls_key=served.key)
    new = other.issue("second")
    with server as running, connect_tls(running.grpc, one.ca) as old:
        under_way = old.stream("noise", count=300)
        indices = {next(under_way).index}
        replace(served.cert, new.cert)
        replace(served.key, new.key)
        until(lambda: shown(running) == new.cert.read_text().strip(), "the new certificate")
        assert indices | {image.index for image in under_way} == set(range(300))
        assert old.generate("noise")
        with connect_tls(running.grpc, other.ca) as trusting_the_new:
            assert trusting_the_new.generate("noise")
        with connect_tls(running.grpc, one.ca) as trusting_the_old:
            failed = refusal(lambda: trusting_the_old.generate("noise"))
        assert failed.code == "UNAVAILABLE"
        assert "CERTIFICATE_VERIFY_FAILED" in failed.text


@pytest.mark.usefixtures("quick")
def test_files_that_do_not_match_are_told_once_and_the_old_ones_stay(
    toy_zoo: Path, one: Authority, other: Authority, served: Issued
) -> None:
    first, new = shown_by(served), other.issue("second")
    with (
        structlog.testing.capture_logs() as events,
        server_in_thread(toy_zoo, tls_cert=served.cert, tls_key=served.key) as running,
    ):
        replace(served.cert, new.cert)
        until(lambda: "files not reloaded" in str(events), "the error")
        assert shown(running) == first
        with connect_tls(running.grpc, one.ca) as stubs:
            assert stubs.generate("plain")
        replace(served.key, new.key)
        until(lambda: shown(running) == shown_by(new), "the new certificate")
    told = [event for event in events if event.get("what") == "tls"]
    files = [str(served.cert), str(served.key)]
    assert told == [
        {
            "event": "files not reloaded, the old ones stay in use",
            "log_level": "error",
            "what": "tls",
            "files": files,
            "reason": f"{served.key}: is not the key of the certificate in {served.cert}",
        },
        {"event": "files reloaded", "log_level": "info", "what": "tls", "files": files},
    ]


def shown_by(issued: Issued) -> str:
    return issued.cert.read_text().strip()


@pytest.mark.usefixtures("quick")
def test_clients_of_an_authority_that_was_taken_out_get_nothing(
    toy_zoo: Path, one: Authority, other: Authority, tmp_path: Path
) -> None:
    trusted, issued = tmp_path / "ca.pem", one.issue("server")
    replace(trusted, other.ca)
    client = other.issue("client")
    files = {"tls_cert": issued.cert, "tls_key": issued.key, "tls_client_ca": trusted}
    with (
        structlog.testing.capture_logs() as events,
        server_in_thread(toy_zoo, **files) as running,
        connect_tls(running.grpc, one.ca, client) as old,
    ):
        assert old.generate("plain")
        replace(trusted, one.ca)
        until(lambda: "files reloaded" in str(events), "the news")
        with connect_tls(running.grpc, one.ca, client) as stubs:
            assert refusal(lambda: stubs.generate("plain")).code == "UNAVAILABLE"
        with connect_tls(running.grpc, one.ca, one.issue("trusted")) as stubs:
            assert stubs.generate("plain")
        assert old.generate("plain")  # until it ends: max_connection_age_s


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("tls_cert", None, "{}: cannot be read: No such file or directory"),
        ("tls_key", None, "{}: cannot be read: No such file or directory"),
        ("tls_client_ca", None, "{}: cannot be read: No such file or directory"),
        ("tls_cert", "", "{}: holds no certificate in PEM"),
        ("tls_key", "", "{}: holds no private key in PEM without a passphrase"),
        ("tls_client_ca", "", "{}: holds no certificate in PEM"),
        ("tls_key", "another", "{}: is not the key of the certificate in {cert}"),
        ("tls_key", "locked", "{}: holds no private key in PEM without a passphrase"),
    ],
)
def test_bad_files_are_told_at_the_start(
    toy_zoo: Path,
    one: Authority,
    served: Issued,
    tmp_path: Path,
    name: str,
    content: str | None,
    text: str,
) -> None:
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_text(one.issue("another").key.read_text() if content else "")
    if content == "locked":
        lock(bad)
    files: Any = {"tls_cert": served.cert, "tls_key": served.key, name: bad}
    with pytest.raises(CredentialsError) as raised, server_in_thread(toy_zoo, **files):
        pass
    assert str(raised.value) == text.format(bad, cert=served.cert)
