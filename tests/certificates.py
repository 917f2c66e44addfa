"""Certificates made on the fly by openssl; none is kept."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
_NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost"
_LEAF = "basicConstraints=critical,CA:FALSE"


@dataclass(frozen=True)
class Issued:
    """Files, PEM."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority of its own.

    Attributes:
        ca: file of its certificate, PEM.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name, self._issued = folder, name, 0
        self.ca, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _openssl("req", "-x509", *_CURVE, *self._out(self._key, self.ca), "-subj", f"/CN={name}")

    def issue(self, name: str) -> Issued:
        """A certificate for this machine, as a server or as a client, in files of its own."""
        self._issued += 1
        stem = self._folder / f"{self._name}-{name}-{self._issued}"
        issued = Issued(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        signed = [
            "-CA",
            str(self.ca),
            "-CAkey",
            str(self._key),
            "-addext",
            _NAMES,
            "-addext",
            _LEAF,
        ]
        out = self._out(issued.key, issued.cert)
        _openssl("req", "-x509", *_CURVE, *out, "-subj", f"/CN={name}", *signed)
        return issued

    @staticmethod
    def _out(key: Path, cert: Path) -> list[str]:
        return ["-keyout", str(key), "-out", str(cert), "-days", "2"]


def lock(key: Path) -> None:
    """Puts a private key behind a passphrase."""
    _openssl("pkey", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", f"{key}.new")
    Path(f"{key}.new").replace(key)


def replace(file: Path, content: Path | str) -> None:
    """Puts a file's content, or a text, in another's place, at once."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(content if isinstance(content, str) else content.read_text())
    new.replace(file)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)
