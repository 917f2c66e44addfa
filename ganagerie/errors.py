"""Errors of the clients and the CLI.

    GanagerieError
    ├── InvalidRequest, ModelNotFound     as the server raises them
    ├── ClientError
    │   ├── ServerUnavailable     nobody answers there, or the server is starting or stopping
    │   ├── ServerBusy            it has as much to do as it takes on: try again later
    │   ├── Unauthenticated       it wants an API key, or does not know the one that it got
    │   ├── DeadlineExceeded      no answer within `timeout_s`
    │   └── CallFailed            anything else; has the status code
    ├── OutputError               a file that cannot be written
    └── HubError                  a model that cannot be fetched or put elsewhere

The root and its first two children are in `zoo/errors.py`.
"""

from __future__ import annotations

from zoo.errors import GanagerieError


class ClientError(GanagerieError):
    """Root of the errors of a call."""


class ServerUnavailable(ClientError):
    """Nobody answers there, or the server is starting or stopping."""


class ServerBusy(ClientError):
    """The server has as much to do as it takes on: try again later.

    Attributes:
        retry_after_s: when, if the server says so.
    """

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Unauthenticated(ClientError):
    """The server wants an API key, or does not know the one that it got."""


class DeadlineExceeded(ClientError):
    """No answer within the deadline."""


class CallFailed(ClientError):
    """Any other failure; the text holds the status code."""


class OutputError(GanagerieError):
    """A file that cannot be written."""


class HubError(GanagerieError):
    """A model that cannot be fetched from elsewhere, or put there."""
