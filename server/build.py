"""Which version of Ganagerie this is."""

from __future__ import annotations

import functools
import importlib.metadata


@functools.cache
def server_version() -> str:
    """The installed version; `unknown` where the sources run without having been installed."""
    try:
        return importlib.metadata.version("ganagerie")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
