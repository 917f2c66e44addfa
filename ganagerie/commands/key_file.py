"""A key from a file that holds nothing else."""

from __future__ import annotations

from pathlib import Path


def read_key(option: str, file: str) -> str:
    """The key in a file.

    Raises:
        InvalidRequest: it cannot be read, or holds more than a key; names the option.
    """
    from zoo.errors import InvalidRequest

    try:
        key = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is not text"
        raise InvalidRequest(option, f"{file}: cannot be read: {reason}") from error
    if len(key.split()) != 1:
        raise InvalidRequest(option, f"{file}: must hold one key and nothing else")
    return key
