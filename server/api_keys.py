"""API keys by file: who a key belongs to. Knows no gRPC."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path
from typing import Final

from server.errors import CredentialsError
from server.reloading import ReloadedFiles, read

MIN_KEY: Final = 16  # characters; what is shorter can be guessed
_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_KEY: Final = re.compile(rf"[!-~]{{{MIN_KEY},512}}")


class ApiKeys:
    """The keys of a file with lines of `NAME KEY`; `#` begins a line that is none.

    Only hashes are kept. A file from which every key has been taken lets nobody in; at the start
    it is an error.

    Attributes:
        files: to be watched.

    Raises:
        CredentialsError: the file cannot be read, or a line is none; the text has no key in it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._names: dict[bytes, str] = {}  # by hash of the key
        self.files = ReloadedFiles("api keys", [file], self._load)
        if not self._names:
            raise CredentialsError(f"{file}: holds no keys; write lines of NAME KEY")

    def owner(self, key: bytes) -> str | None:
        """The name of a key, if it is known.

        Every known key is compared in constant time, whatever the outcome.
        """
        digest, found = _hash(key), None
        for known, name in self._names.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _load(self) -> None:
        names: dict[bytes, str] = {}
        try:
            lines = read(self._file).decode().splitlines()
        except UnicodeDecodeError as error:
            raise CredentialsError(f"{self._file}: is not UTF-8") from error
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            where = f"{self._file}: line {number}"
            if len(words) != 2 or not _NAME.fullmatch(words[0]):
                raise CredentialsError(
                    f"{where}: must be NAME KEY, the name of 1 to 64 letters, digits, . _ @ or -"
                )
            name, key = words
            if not _KEY.fullmatch(key):
                raise CredentialsError(
                    f"{where}: the key of {name} must be {MIN_KEY} to 512 visible ASCII characters"
                )
            digest = _hash(key.encode())
            if digest in names:
                raise CredentialsError(
                    f"{where}: the key of {name} is also that of {names[digest]}"
                )
            names[digest] = name
        self._names = names


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
