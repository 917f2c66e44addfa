"""`ganagerie serve`: the server. Its flags derive from `server.config.ServeConfig`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from server.config import CONFIG_VARIABLE, ServeConfig
from server.config_file import load_config, to_toml

EXAMPLES = """
Examples:

  ganagerie serve

  ganagerie serve --zoo my-zoo --port 0 --http-port 0 --log-format json

  GANAGERIE_RUNNERS=8 ganagerie serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem

  ganagerie serve --zoo my-zoo --watch --max-loaded-models 4

  ganagerie serve --max-batch 16 --print-config > serve.toml && ganagerie serve --config serve.toml
"""


def serve(*, config: str | None, print_config: bool, **flags: Any) -> None:
    """Serve a zoo over gRPC, with /healthz, /readyz and /metrics over HTTP.

    SIGTERM or Ctrl-C drains and exits with code 0; a second one exits at once. SIGHUP looks at the
    zoo folder for models that came, changed or went, as --watch does by itself. Every flag can also
    be set as environment variable GANAGERIE_NAME, or as a key of a TOML file; flags win, then
    variables.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    resolved = load_config(given, None if config is None else Path(config))
    if print_config:
        typer.echo(to_toml(resolved), nl=False)
        return

    import uvloop

    from server.app import serve as run

    uvloop.run(run(resolved))


def _flags() -> inspect.Signature:
    """One optional flag a field; defaults are left to the config, which knows where to look."""
    parameters = [
        _parameter(
            "config",
            str | None,
            None,
            typer.Option(metavar="FILE", envvar=CONFIG_VARIABLE, help="TOML file of settings."),
        ),
        _parameter(
            "print_config",
            bool,
            False,
            typer.Option("--print-config", help="Print all settings as such a file, and exit."),
        ),
    ]
    for name, field in ServeConfig.model_fields.items():
        is_off = field.default is None or field.default is False
        stated = is_off or "unless given" in (field.description or "")
        # A switch has no --no-NAME beside it: that column would cut the other names.
        names = [f"--{name.replace('_', '-')}"] if field.annotation is bool else []
        option = typer.Option(
            *names, help=field.description, show_default=False if stated else str(field.default)
        )
        parameters.append(_parameter(name, _flag_type(field.annotation), None, option))
    return inspect.Signature(parameters)


def _parameter(name: str, kind: Any, default: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _flag_type(annotation: Any) -> Any:
    # Literals and paths are checked by the config, whose messages name the flag.
    return annotation | None if annotation in {bool, int, float} else str | None


serve.__signature__ = _flags()  # type: ignore[attr-defined]  # typer reads it
