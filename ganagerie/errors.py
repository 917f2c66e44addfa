"""Errors of the clients and the CLI.

    GanagerieError
    ├── InvalidRequest, ModelNotFound     as the server raises them
    ├── ClientError
    │   ├── ServerUnavailable     nobody answers there, or the server is starting or stopping
    │   ├── ServerBusy            its queue is full: try again later
    │   ├── DeadlineExceeded      no answer within `timeout_s`
    │   └── CallFailed            anything else; has the status code
    └── OutputError               a file that cannot be written

The root and its first two children are in `zoo/errors.py`.
"""

from __future__ import annotations

from zoo.errors import GanagerieError


class ClientError(GanagerieError):
    """Root of the errors of a call."""


class ServerUnavailable(ClientError):
    """Nobody answers there, or the server is starting or stopping."""


class ServerBusy(ClientError):
    """The server's queue is full: try again later."""


class DeadlineExceeded(ClientError):
    """No answer within the deadline."""


class CallFailed(ClientError):
    """Any other failure; the text holds the status code."""


class OutputError(GanagerieError):
    """A file that cannot be written."""
