"""The command line: `ganagerie COMMAND`.

Errors that Ganagerie raises on purpose end in one line on stderr and exit code 2.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from ganagerie.commands import (
    admin,
    doctor,
    evaluate,
    generate,
    health,
    monitor,
    publish,
    sample,
    serve,
    study,
    train,
    zoo,
    zoo_hub,
)
from ganagerie.version import __version__
from zoo.errors import GanagerieError

app = typer.Typer(
    name="ganagerie",
    help="A GAN zoo that trains, watches and serves.",
    epilog="Start here:  ganagerie generate dcgan-emnist -n 64 -o letters.png",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("generate", epilog=generate.EXAMPLES)(generate.generate)
app.command("sample", epilog=sample.EXAMPLES)(sample.sample)
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
zoo.app.command("pull", epilog=zoo_hub.PULL_EXAMPLES)(zoo_hub.pull)
zoo.app.command("push", epilog=zoo_hub.PUSH_EXAMPLES)(zoo_hub.push)
app.command("health", epilog=health.EXAMPLES)(health.health)
app.add_typer(admin.app, name="admin")
app.add_typer(zoo.app, name="zoo")
app.command("train", epilog=train.EXAMPLES)(train.train)
app.add_typer(monitor.app, name="monitor")
app.command("publish", epilog=publish.EXAMPLES)(publish.publish)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("study", epilog=study.EXAMPLES)(study.study)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ganagerie {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None: ...


def main() -> None:
    """Entry point of the `ganagerie` script."""
    # gRPC's own lines about each failed handshake would stand between ours; it reads this once.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        app()
    except GanagerieError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
