"""`ganagerie study`: repeat an experiment, and read what it shows."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganagerie.commands.train import Device

if TYPE_CHECKING:
    from training.studies.study import Findings

EXAMPLES = """
Examples:

  ganagerie study list

  ganagerie study batch-norm --quick --data data --download

  ganagerie study normalization-gradients --data cifar.zip --set epochs=10 --out studies/norms
"""


def study(
    name: Annotated[str, typer.Argument(help="Name of a study, or 'list' for all of them.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="A trial of about a minute; it proves little.")
    ] = False,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="The original sizes, which are for a GPU; the default where there is one.",
        ),
    ] = False,
    data: Annotated[
        Path,
        typer.Option(
            envvar="GANAGERIE_DATA",
            help="Folder of the data sets (EMNIST/, cifar-10-batches-py/), or images of your own.",
        ),
    ] = Path("data"),
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results.", show_default="studies/NAME-DATE-TIME"),
    ] = None,
    download: Annotated[
        bool,
        typer.Option("--download", help="Fetch a named data set through torchvision if missing."),
    ] = False,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.auto,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a size (epochs=2); may be repeated."
        ),
    ] = None,
) -> None:
    """Repeat a study of normalisation, initialisation or optimisation.

    Writes results.json, the figures as PNG, and index.html, a page that needs no other file; says
    what was found, and whether that agrees with the study's author. Ctrl-C ends it without results.
    """
    from training.studies import TITLES, load

    if name == "list":
        width = max(map(len, TITLES))
        for known, title in TITLES.items():
            typer.echo(f"{known:{width}}  {title}")
        return

    from ganagerie.training_extra import require_training

    require_training("study")

    from training.errors import StudyError, StudyStopped
    from training.launch import resolve_device
    from training.stopping import StopRequest
    from training.studies.perform import PAGE, Shown, perform
    from training.studies.study import Setting

    if quick and full:
        raise StudyError("--quick and --full: give one of them")
    chosen = load(name)
    where = resolve_device(device)
    folder = out or Path("studies") / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    with StopRequest("stopping (press Ctrl-C again to exit at once)") as stop, Shown() as shown:
        setting = Setting(
            quick=quick,
            full=full or (not quick and where.type == "cuda"),
            data=data,
            out=folder,
            download=download,
            device=where,
            say=shown.say,
            overrides=tuple(overrides or ()),
            tracker=shown.track,
            stop_requested=lambda: stop.requested,
        )
        try:
            findings = perform(chosen, setting)
        except StudyStopped as stopped:
            typer.echo(str(stopped), err=True)
            raise typer.Exit(130) from stopped
    _tell(findings)
    typer.echo(str(folder / PAGE))


def _tell(findings: Findings) -> None:
    """Words and claims, on stdout."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from training.studies.perform import VERDICTS

    # Without a terminal there is no width to fit into.
    console = Console(width=None if sys.stdout.isatty() else 160)
    if findings.quick:
        console.print("A trial (--quick): it shows that the study works, and proves little.")
    console.print(Text(findings.words))
    if not findings.claims:
        return
    table = Table(box=SIMPLE)
    table.add_column("", no_wrap=True)
    table.add_column("the author says", ratio=2)
    table.add_column("here", ratio=3)
    for claim in findings.claims:
        table.add_row(*map(Text, (VERDICTS[claim.agrees], claim.author, claim.found)))
    console.print(table)
