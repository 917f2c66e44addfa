"""How the clients reach a server: plain or TLS, with or without an API key."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypedDict

import grpc

from zoo.errors import InvalidRequest

_SERVICE = {
    # Of all addresses of a name, as a headless service of Kubernetes has them.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # gRPC answers CANCELLED to what reaches a server just as it stops.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
}
OPTIONS: Final = (
    ("grpc.service_config", json.dumps(_SERVICE)),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)
_KEY: Final = re.compile(r"[!-~]+")


class Security(TypedDict, total=False):
    """What a connection needs; every key may be left out.

    tls: encrypt, and trust the authorities that gRPC brings along. The files below imply it.
    tls_ca: file, PEM, of the authorities to trust instead: those that vouch for the server.
    tls_cert: file, PEM, of the client's own certificate, where the server asks for one.
    tls_key: file, PEM, of its private key.
    api_key: key that the server knows the caller by. Without TLS it can be read on the way.
    """

    tls: bool
    tls_ca: Path | str | None
    tls_cert: Path | str | None
    tls_key: Path | str | None
    api_key: str | None


@dataclass(frozen=True)
class Connection:
    """`credentials` of the channel, None for a plain one; `metadata` of every call."""

    credentials: grpc.ChannelCredentials | None
    metadata: tuple[tuple[str, str], ...] | None


def connection(
    *,
    tls: bool = False,
    tls_ca: Path | str | None = None,
    tls_cert: Path | str | None = None,
    tls_key: Path | str | None = None,
    api_key: str | None = None,
) -> Connection:
    """What the keys of `Security` come to.

    Raises:
        InvalidRequest: a file cannot be read, half of a pair is missing, or no key looks like that;
            the text does not repeat it.
    """
    if (tls_cert is None) != (tls_key is None):
        given, other = ("tls_key", "tls_cert") if tls_cert is None else ("tls_cert", "tls_key")
        raise InvalidRequest(given, f"needs {other} beside it")
    if api_key is not None and not _KEY.fullmatch(api_key):
        raise InvalidRequest("api_key", "must be visible ASCII characters, without spaces")
    files: dict[str, Any] = {
        "root_certificates": _read("tls_ca", tls_ca),
        "private_key": _read("tls_key", tls_key),
        "certificate_chain": _read("tls_cert", tls_cert),
    }
    secure = tls or any(files.values())
    return Connection(
        grpc.ssl_channel_credentials(**files) if secure else None,
        (("authorization", f"Bearer {api_key}"),) if api_key is not None else None,
    )


def _read(field: str, file: Path | str | None) -> bytes | None:
    if file is None:
        return None
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise InvalidRequest(field, f"{file}: cannot be read: {error.strerror}") from error
    if b"-----BEGIN " not in content:  # gRPC would only say that nobody answers
        raise InvalidRequest(field, f"{file}: is not PEM")
    return content
