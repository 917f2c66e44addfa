"""Errors of serving; `server/interceptors.py` says which status code each becomes.

    GanagerieError
    └── ServingError
        ├── Busy               worth trying again, and when
        │   ├── NoRoom         no model can leave memory for the one that is asked for
        │   ├── QueueFull      more images wait than the server takes on
        │   └── KeyBusy        one API key has as many requests running as it may
        ├── NotReady           the server is starting or stopping
        ├── ModelUnavailable   the model could not be loaded, or was unloaded
        ├── Unauthenticated    no API key, or one that is not known
        ├── Forbidden          an API key that does not open this door
        ├── ConfigError        a setting that cannot be
        ├── CredentialsError   a file for TLS, or of API keys, that cannot be used
        └── BindError          an address that cannot be listened on

The root is in `zoo/errors.py`.
"""

from __future__ import annotations

from zoo.errors import GanagerieError


class ServingError(GanagerieError):
    """Root of the errors of serving."""


class Busy(ServingError):
    """Worth trying again; `retry_after_s` is when."""

    def __init__(self, reason: str, retry_after_s: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class NoRoom(Busy):
    """No model can leave memory for the one that is asked for."""


class QueueFull(Busy):
    """More images wait than the server takes on."""


class KeyBusy(Busy):
    """One API key has as many requests running as it may."""


class NotReady(ServingError):
    """The server is starting or stopping."""


class ModelUnavailable(ServingError):
    """The model could not be loaded, or was unloaded."""


class Unauthenticated(ServingError):
    """No API key, or one that is not known; the text never repeats it."""


class Forbidden(ServingError):
    """An API key that does not open this door; the text never repeats it."""


class ConfigError(ServingError):
    """A setting that cannot be."""


class CredentialsError(ServingError):
    """A file for TLS, or of API keys, that cannot be used; the text never repeats a key."""


class BindError(ServingError):
    """An address that cannot be listened on."""
