"""`ganagerie doctor`: what this machine has, and whether a zoo works on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ganagerie.commands.sample import Device
from zoo.catalog import BUNDLED

EXAMPLES = """
Examples:

  ganagerie doctor

  ganagerie doctor --device cuda --zoo my-zoo || echo "not on this machine"

  ganagerie doctor --json > machine.json
"""


def doctor(
    zoo: Annotated[
        Path,
        typer.Option(envvar="GANAGERIE_ZOO", help="Zoo folder.", show_default="the bundled zoo"),
    ] = BUNDLED,
    device: Annotated[
        Device,
        typer.Option(help="cuda: it is a problem if CUDA does not load. cpu: leave GPUs alone."),
    ] = Device.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """See what this machine has, and whether every model works on it, how fast, and alike.

    Takes some seconds a model. Exit code 1 if there is a problem; each is told with its fix.
    """
    from rich.console import Console

    from ganagerie.doctor.examine import examine
    from ganagerie.doctor.table import show

    report = examine(zoo, device.value)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        # Without a terminal there is no width to fit into.
        show(report, Console(width=None if sys.stdout.isatty() else 200))
    if not report.ok:
        raise typer.Exit(1)
