"""Settings from flags, environment and a TOML file, and back into TOML."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from server.config import ServeConfig
from server.errors import ConfigError
from zoo.errors import one_line, shown


def load_config(flags: Mapping[str, Any], file: Path | None = None) -> ServeConfig:
    """The settings: a flag wins over the environment, that over the file, that over the default.

    Paths in the file are relative to its folder, other paths to the working directory.

    Raises:
        ConfigError: a value that cannot be, or a key of the file that is no setting; names the
            flag, the variable or the file.
    """
    from_file = {} if file is None else _read(file)
    environment = EnvSettingsSource(ServeConfig)()
    values = {**from_file, **environment, **flags}
    try:
        return ServeConfig(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        if not problem["loc"]:  # two settings contradict each other: the text names them
            raise ConfigError(problem["msg"]) from error
        name = str(problem["loc"][0])
        if name in flags:
            source = f"--{name.replace('_', '-')}"
        elif name in environment:
            source = f"GANAGERIE_{name.upper()}"
        else:
            source = f"{file}: {name}"
        raise ConfigError(f"{source}: {shown(problem['input'])}: {problem['msg']}") from error


def to_toml(config: ServeConfig) -> str:
    """All settings, as a file that says the same. Of secrets there are only the files' names."""
    parts = []
    for name, field in ServeConfig.model_fields.items():
        value = getattr(config, name)
        line = f"# {name} is not set" if value is None else f"{name} = {_toml(value)}"
        parts.append(f"# {field.description}\n{line}\n")
    return "\n".join(parts)


def _read(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # of TOML, or of UTF-8
        raise ConfigError(f"{file}: is not TOML: {one_line(error)}") from error
    known = list(ServeConfig.model_fields)
    for key in values:
        if key not in known:
            (nearest,) = difflib.get_close_matches(key.replace("-", "_"), known, 1, cutoff=0)
            raise ConfigError(f"{file}: {shown(key)} is not a setting; the nearest is {nearest}")
    for name, value in values.items():
        # Python takes true for the number 1
        if isinstance(value, bool) and ServeConfig.model_fields[name].annotation is not bool:
            raise ConfigError(f"{file}: {name}: {str(value).lower()} is not allowed")
        if isinstance(value, str) and value and _is_path(name):
            values[name] = file.absolute().parent / value
    return values


def _is_path(name: str) -> bool:
    annotation = ServeConfig.model_fields[name].annotation
    return Path in {annotation, *get_args(annotation)}


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return repr(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    text = str(value.absolute() if isinstance(value, Path) else value)
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
