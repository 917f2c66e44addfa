"""Every error that Ganagerie raises on purpose.

    GanagerieError
    ├── InvalidRequest      a value that somebody asked for; names the field and what is allowed
    ├── ModelNotFound       no such model; lists what there is
    ├── ZooError            a zoo that cannot be read
    │   ├── CardError       a card that is missing, malformed or contradicts itself
    │   └── ArtifactError   a file that is missing, altered, or not where it may be
    ├── BackendError        onnxruntime, or the device asked for, is not there
    └── ExportError         an exported graph that does not do what the network does

Packages above the zoo add branches of their own: `server.errors`, `training.errors`,
`ganagerie.errors`. None of them knows gRPC: `server/interceptors.py` maps them to status codes in
one table. A message names the value, what is allowed and, where there is one, the fix.
"""

from __future__ import annotations

_SHOWN = 80  # characters of a value that a message repeats
_LINE = 200  # characters of a library's message that one of ours repeats


class GanagerieError(Exception):
    """Root of all errors raised on purpose; its text is fit for a user's eyes."""


class InvalidRequest(GanagerieError):
    """A value that cannot be served.

    Attributes:
        field: path of the offending field, e.g. ``conditions[0].class_name``.
        reason: the value, what is allowed, and the fix.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class ModelNotFound(GanagerieError):
    """No model of that name, or not in that version."""


class ZooError(GanagerieError):
    """A zoo folder that cannot be read."""


class CardError(ZooError):
    """A model card that is missing, malformed or contradicts itself."""


class ArtifactError(ZooError):
    """An artifact that is missing, altered, or outside its model's folder."""


class BackendError(GanagerieError):
    """The inference runtime, or the device that was asked for, is not available."""


class ExportError(GanagerieError):
    """An exported graph disagrees with the network that it came from."""


def one_line(error: BaseException) -> str:
    """A library's message on one line, cut if it goes on; its type where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LINE else f"{text[:_LINE]}…"


def shown(value: object) -> str:
    """A value as an error message repeats it: its repr, cut if somebody sent a novel."""
    if isinstance(value, str | list) and len(value) > _SHOWN:  # no need to write out the rest
        unit = "characters" if isinstance(value, str) else "elements"
        return f"{repr(value[:_SHOWN])[:_SHOWN]}… ({len(value):,} {unit})"
    text = repr(value)
    length = len(value) if isinstance(value, str) else len(text)
    return text if length <= _SHOWN else f"{text[:_SHOWN]}… ({length:,} characters)"
