"""`ganagerie serve`: the server. Its flags derive from `server.config.ServeConfig`."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from server.config import ServeConfig
from zoo.errors import InvalidRequest

EXAMPLES = """
Examples:

  ganagerie serve

  ganagerie serve --zoo my-zoo --port 0 --http-port 0 --log-format json

  GANAGERIE_RUNNERS=8 ganagerie serve --host 0.0.0.0
"""


def serve(**flags: Any) -> None:
    """Serve a zoo over gRPC, with /healthz, /readyz and /metrics over HTTP.

    SIGTERM or Ctrl-C drains and exits with code 0; a second one exits at once. Every flag can also
    be set as environment variable GANAGERIE_NAME; flags win.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        config = ServeConfig(**given)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        source = f"--{name.replace('_', '-')}" if name in given else f"GANAGERIE_{name.upper()}"
        raise InvalidRequest(source, f"{problem['input']!r}: {problem['msg']}") from error

    import uvloop

    from server.app import serve as run

    uvloop.run(run(config))


def _flags() -> inspect.Signature:
    """One optional flag a field; defaults are left to the config, which reads the environment."""
    parameters = []
    for name, field in ServeConfig.model_fields.items():
        stated = "unless given" in (field.description or "")
        option = typer.Option(
            help=field.description, show_default=False if stated else str(field.default)
        )
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[_flag_type(field.annotation), option],
            )
        )
    return inspect.Signature(parameters)


def _flag_type(annotation: Any) -> Any:
    # Literals and paths are checked by the config, whose messages name the flag.
    return annotation | None if annotation in {int, float} else str | None


serve.__signature__ = _flags()  # type: ignore[attr-defined]  # typer reads it
