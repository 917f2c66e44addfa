"""A folder behind a URL, through fsspec; its errors become ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

from ganagerie.errors import HubError
from zoo.errors import BackendError, GanagerieError, InvalidRequest, one_line, shown

SCHEMES = ("https", "hf", "s3", "file")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TIMEOUT_S = 60  # without a byte
_BLOCK = 4 * 1024 * 1024  # bytes asked for at a time
_NEEDS = "pip install 'ganagerie[hub]'"


class Source:
    """A folder that may hold a model.

    Args:
        url: https://HOST/PATH, hf://ORG/NAME, s3://BUCKET/PATH or file:///PATH.
        to_write: whether something is to be put there.

    Raises:
        InvalidRequest: it is no such URL.
        HubError: https, which is read-only, is to be written to.
        BackendError: what its scheme needs is not installed.
    """

    def __init__(self, url: str, *, to_write: bool = False) -> None:
        self.url = url.rstrip("/")
        scheme = _checked_scheme(self.url)
        self._http = scheme in {"http", "https"}
        if self._http and to_write:
            raise HubError(f"{self.url}: https is read-only; push to hf://, s3:// or file://")
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise BackendError(f"{scheme}:// needs fsspec: {_NEEDS}") from error
        options = _http_options() if self._http else {}
        try:
            self._fs, self._root = url_to_fs(self.url, **options)
        except ImportError as error:
            raise BackendError(f"{scheme}:// needs more: {_NEEDS} ({one_line(error)})") from error
        except Exception as error:
            raise HubError(f"{self.url}: {one_line(error)}") from error

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where the other side does not say.

        Raises:
            HubError: it is not there, or nobody answers.
        """
        with self._errors(name):
            size = self._fs.info(self._path(name))["size"]
        return None if size is None else int(size)

    def read(self, name: str, limit: int) -> bytes:
        """A small file.

        Raises:
            HubError: as `copy`.
        """
        parts: list[bytes] = []
        self.copy(name, 0, limit, parts.append)
        return b"".join(parts)

    def copy(self, name: str, start: int, limit: int, write: Callable[[bytes], object]) -> int:
        """Hands a file's bytes to `write`, some at a time; returns how many.

        Args:
            name: in the folder.
            start: leave out as many bytes, if the other side can.
            limit: most bytes of the whole file.
            write: takes them; what it raises is passed on.

        Raises:
            HubError: it is not there, breaks off, or is larger.
            RangeRefused: the other side cannot begin at `start`.
        """
        total = start
        # From its start a file comes in one answer over HTTP, else in blocks.
        block = 0 if self._http and not start else _BLOCK
        with ExitStack() as stack:
            with self._errors(name):
                opened = self._fs.open(self._path(name), "rb", block_size=block, cache_type="none")
                file = stack.enter_context(opened)
                content = _begin(file, start)
            while content:
                total += len(content)
                if total > limit:
                    raise HubError(f"{self.url}/{name}: is larger than {limit:,} bytes")
                write(content)
                with self._errors(name):
                    content = file.read(_BLOCK)
        return total - start

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        with self._errors(name):
            return bool(self._fs.exists(self._path(name)))

    def write(self, name: str, content: bytes) -> None:
        """Puts a file.

        Raises:
            HubError: it is not taken.
        """
        with self._errors(name):
            self._fs.makedirs(self._root, exist_ok=True)
            self._fs.pipe_file(self._path(name), content)

    def remove(self, name: str) -> None:
        """Takes a file away.

        Raises:
            HubError: it is not there, or stays.
        """
        with self._errors(name):
            self._fs.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        at = f"{self.url}/{name}"
        try:
            yield
        except GanagerieError:
            raise
        except FileNotFoundError as error:
            # fsspec says so of whatever goes wrong when it first asks, and keeps the reason.
            reason = _root(error)
            if isinstance(reason, GanagerieError):
                raise reason from error
            missing = isinstance(reason, FileNotFoundError) or getattr(reason, "status", 0) == 404
            told = "is not there" if missing else one_line(reason)
            raise HubError(f"{at}: {told}") from error
        except PermissionError as error:
            raise HubError(f"{at}: access is denied; are the credentials right?") from error
        except OSError as error:
            raise HubError(f"{at}: {error.strerror or one_line(error)}") from error
        except Exception as error:
            raise HubError(f"{at}: {one_line(error)}") from error


class RangeRefused(HubError):
    """The other side cannot begin in the middle of a file."""


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _begin(file: Any, start: int) -> bytes:
    """The first block from `start` on."""
    try:
        if start:
            file.seek(start)
        content: bytes = file.read(_BLOCK)
    except (ValueError, NotImplementedError) as error:
        if start:
            raise RangeRefused(one_line(error)) from error
        raise
    return content


def _checked_scheme(url: str) -> str:
    scheme = urlsplit(url).scheme
    if scheme == "http" and urlsplit(url).hostname in _LOOPBACK:
        return scheme
    if scheme == "http":
        raise InvalidRequest("URL", f"{shown(url)}: anybody on the way can change it; use https://")
    if scheme not in SCHEMES or not re.match(r"[a-z0-9]+://.", url):
        allowed = ", ".join(f"{name}://" for name in SCHEMES)
        raise InvalidRequest("URL", f"{shown(url)} is none; it must begin with one of {allowed}")
    return scheme


def _http_options() -> dict[str, Any]:
    try:
        import aiohttp
    except ImportError as error:
        raise BackendError(f"https:// needs aiohttp: {_NEEDS}") from error

    async def check(_session: Any, _context: Any, params: Any) -> None:
        here = str(params.response.url)
        there = urljoin(here, params.response.headers.get("Location", ""))
        if urlsplit(there).scheme != urlsplit(here).scheme:
            raise HubError(f"{here}: leads to {shown(there)}, which is not followed")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(check)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_S, sock_read=_TIMEOUT_S)
    return {"client_kwargs": {"trace_configs": [trace], "timeout": timeout}}
