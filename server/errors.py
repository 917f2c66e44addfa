"""Errors of serving; `server/interceptors.py` says which status code each becomes.

    GanagerieError
    └── ServingError
        ├── QueueFull          more images wait than the server takes on
        ├── NotReady           the server is starting or stopping
        ├── ModelUnavailable   the model is in the zoo but could not be loaded
        └── BindError          an address that cannot be listened on

The root is in `zoo/errors.py`.
"""

from __future__ import annotations

from zoo.errors import GanagerieError


class ServingError(GanagerieError):
    """Root of the errors of serving."""


class QueueFull(ServingError):
    """More images wait than the server takes on."""


class NotReady(ServingError):
    """The server is starting or stopping."""


class ModelUnavailable(ServingError):
    """The model is in the zoo but could not be loaded."""


class BindError(ServingError):
    """An address that cannot be listened on."""
