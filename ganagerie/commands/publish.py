"""`ganagerie publish`: from a run to the zoo."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from zoo.catalog import BUNDLED

EXAMPLES = """
Examples:

  ganagerie publish runs/letters --name letters

  ganagerie publish runs/letters --name letters --version 1.1.0 --zoo my-zoo --weights fp32

  ganagerie publish runs/letters --name letters-plain --no-rewrites
"""


class Weights(StrEnum):
    """How weights are stored."""

    fp16 = "fp16"
    fp32 = "fp32"


def publish(
    run: Annotated[Path, typer.Argument(help="Run directory that `ganagerie train` wrote.")],
    name: Annotated[str, typer.Option(help="What the model is called in the zoo.")],
    version: Annotated[str, typer.Option(help="MAJOR.MINOR.PATCH.")] = "1.0.0",
    zoo: Annotated[
        Path,
        typer.Option(envvar="GANAGERIE_ZOO", help="Zoo folder.", show_default="the bundled zoo"),
    ] = BUNDLED,
    weights: Annotated[
        Weights, typer.Option(help="How weights are stored; they run in fp32 either way.")
    ] = Weights.fp16,
    rewrites: Annotated[
        bool,
        typer.Option(
            help="Export the graph that runs faster, or the plain one that it is compared with; "
            "the images are the same."
        ),
    ] = True,
    license_: Annotated[
        str, typer.Option("--license", help="Licence of the weights, as an SPDX identifier.")
    ] = "Apache-2.0",
    limits: Annotated[
        str, typer.Option(help="One sentence for the card: what the model is not good for.")
    ] = "Not evaluated beyond the figures on this card.",
) -> None:
    """Export a run's averaged generator to ONNX, check it against torch, and put it in the zoo."""
    from ganagerie.training_extra import require_training

    require_training("publish")

    from training.publish import Publication, publish
    from zoo.card import NAME_PATTERN, VERSION_PATTERN
    from zoo.errors import InvalidRequest

    patterns = (("--name", name, NAME_PATTERN), ("--version", version, VERSION_PATTERN))
    for field, value, pattern in patterns:
        if not re.fullmatch(pattern, value):
            raise InvalidRequest(field, f"{value!r} does not match {pattern}")
    publication = Publication(name, version, license_, limits, weights.value, rewrites)
    entry = publish(run, zoo, publication)
    if entry.card.provenance.finished is None:
        typer.echo("note: this run has not reached the end of its recipe", err=True)
    parity = entry.card.parity
    if parity is not None:
        typer.echo(
            f"parity with torch over {parity.seeds} seeds: at most {parity.max_abs_error} of 255 "
            f"grey levels, {parity.differing_pixels:.2%} of pixels differ"
        )
    typer.echo(f"published {entry.card.reference} in {entry.folder}")
