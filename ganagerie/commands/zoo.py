"""`ganagerie zoo`: what there is, what is known about it, and whether it is intact."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zoo.catalog import BUNDLED

EXAMPLES = """
Examples:

  ganagerie zoo list

  ganagerie zoo show dcgan-emnist

  ganagerie zoo verify --zoo my-zoo
"""

app = typer.Typer(
    help="Look into a zoo, fetch models, pass them on.", epilog=EXAMPLES, no_args_is_help=True
)

ZooOption = Annotated[
    Path, typer.Option(envvar="GANAGERIE_ZOO", help="Zoo folder.", show_default="the bundled zoo")
]
Reference = Annotated[str, typer.Argument(metavar="MODEL", help="name or name@version")]


@app.command("list", epilog="Examples:\n\n  ganagerie zoo list --zoo my-zoo")
def list_models(zoo: ZooOption = BUNDLED) -> None:
    """List the models of a zoo."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from zoo.catalog import Catalog

    catalog = Catalog.open(zoo)
    table = Table(box=SIMPLE)
    for heading in ("model", "architecture", "image", "classes", "images seen"):
        table.add_column(heading, overflow="fold")  # a name that is cut is of no use
    for entry in catalog.entries:
        card = entry.card
        seen = card.provenance.images_seen
        cells = (
            card.reference,
            card.architecture,
            f"{card.image.width}x{card.image.height}x{card.image.channels}",
            str(len(card.class_names) or "-"),
            f"{seen:,}" if seen is not None else "-",
        )
        table.add_row(*map(Text, cells))  # Text: a card is data, not markup
    # Without a terminal there is no width to fit into.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    for reason in catalog.broken.values():
        typer.echo(f"unusable: {reason}", err=True)


@app.command("show", epilog="Examples:\n\n  ganagerie zoo show dcgan-emnist")
def show(model: Reference, zoo: ZooOption = BUNDLED) -> None:
    """Print a model's card, as JSON."""
    from zoo.catalog import Catalog

    typer.echo(Catalog.open(zoo).resolve(model).card.to_json(), nl=False)


@app.command("verify", epilog="Examples:\n\n  ganagerie zoo verify dcgan-emnist")
def verify(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="default: all")] = None,
    zoo: ZooOption = BUNDLED,
) -> None:
    """Check cards, checksums and graphs, and make one image with each.

    Exit code 1 if any fails, or if there is no model.
    """
    from zoo.catalog import Catalog
    from zoo.errors import CardError
    from zoo.generator import load_generator
    from zoo.runtime import load_runtime

    load_runtime()
    catalog = Catalog.open(zoo)
    entries, reasons = catalog.entries, [*catalog.broken.values()]
    if model is not None:
        try:
            entries, reasons = [catalog.resolve(model)], []
        except CardError as error:
            entries, reasons = [], [str(error)]
    elif not entries and not reasons:
        reasons = [f"zoo {zoo}: holds no model"]
    failures = len(reasons)
    for reason in reasons:
        typer.echo(f"FAILED  {reason}")
    for entry in entries:
        card = entry.card
        try:
            generator = load_generator(entry, "cpu")
            images = generator.generate([0], [None], [((0, 1.0),)] if card.classes else None)
        except Exception as error:  # noqa: BLE001  onnxruntime's own, when a graph fails as it runs
            failures += 1
            typer.echo(f"FAILED  {card.reference}: {error}")
        else:
            levels = f"({images.min()}..{images.max()})"  # all one grey would be a dead generator
            typer.echo(f"ok      {card.reference}: checksum, graph, image of seed 0 {levels}")
    if failures:
        raise typer.Exit(1)
