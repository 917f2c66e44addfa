"""TLS by files: checked before they are used, replaced while connections go on."""

from __future__ import annotations

import ssl
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import grpc

from server.errors import CredentialsError
from server.reloading import ReloadedFiles, read
from zoo.errors import one_line


@dataclass(frozen=True)
class TlsFiles:
    """Where the PEM files are; with `client_ca`, clients have to show a certificate."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def all(self) -> list[Path]:
        """Every file there is."""
        return [self.cert, self.key, *([self.client_ca] if self.client_ca else [])]

    def read(self) -> grpc.ServerCertificateConfiguration:
        """The files as gRPC wants them.

        Raises:
            CredentialsError: one cannot be read, is not PEM, or certificate and key do not match.
        """
        cert, key = read(self.cert), read(self.key)
        _check_certificates(self.cert, cert)
        client_ca = None
        if self.client_ca:
            client_ca = read(self.client_ca)
            _check_certificates(self.client_ca, client_ca)
        self._check_pair()
        return grpc.ssl_server_certificate_configuration([(key, cert)], client_ca)

    def _check_pair(self) -> None:
        try:  # an empty passphrase, lest OpenSSL asks for one on the terminal
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert, self.key, "")
        except ssl.SSLError as error:
            if (error.reason or "").endswith("MISMATCH"):
                text = f"{self.key}: is not the key of the certificate in {self.cert}"
            else:
                text = f"{self.key}: holds no private key in PEM without a passphrase"
            raise CredentialsError(text) from error
        except OSError as error:
            raise CredentialsError(f"{self.key}: cannot be read: {error.strerror}") from error


def _check_certificates(file: Path, content: bytes) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=content.decode())
    except ssl.SSLError as error:
        reason = one_line(error)
        raise CredentialsError(f"{file}: holds no certificate in PEM: {reason}") from error
    except ValueError as error:  # not text, or nothing in it
        raise CredentialsError(f"{file}: holds no certificate in PEM") from error


class Tls:
    """What a secure port needs; follows its files.

    gRPC asks for news before each handshake, from threads of its own: connections that exist are
    left alone.

    Attributes:
        credentials: for `add_secure_port`.
        files: to be watched.

    Raises:
        CredentialsError: see `TlsFiles.read`.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._news: deque[grpc.ServerCertificateConfiguration] = deque(maxlen=1)
        self.files = ReloadedFiles("tls", files.all(), lambda: self._news.append(files.read()))
        self.credentials = grpc.dynamic_ssl_server_credentials(
            self._news.pop(),
            self._fetch,  # type: ignore[arg-type]  # its stubs forget that None is no change
            require_client_authentication=bool(files.client_ca),
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        try:
            return self._news.pop()
        except IndexError:
            return None
