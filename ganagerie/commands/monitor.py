"""`ganagerie monitor`: how a run is, or was: replayed, live, and as a report."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Watch training runs for collapse, while they train or afterwards.",
    no_args_is_help=True,
)

REPLAY_EXAMPLES = """
Examples:

  ganagerie monitor replay runs/letters

  ganagerie monitor replay spectra.jsonl --format json

  ganagerie monitor replay somebodys-run.csv
"""

_FEW = 3  # unreadable rows that are told one by one


class Format(StrEnum):
    """What is printed."""

    text = "text"
    json = "json"


@app.command(epilog=REPLAY_EXAMPLES)
def replay(
    file: Annotated[
        Path,
        typer.Argument(help="Run directory, spectra.jsonl, metrics.jsonl, or a CSV with a header."),
    ],
    format_: Annotated[
        Format, typer.Option("--format", help="text, or one JSON object a line.")
    ] = Format.text,
) -> None:
    """Run the collapse detector over a recorded series.

    Prints a line for every change of the verdict, and the final verdict last. A CSV may have the
    columns itr or step, fid, proxy_fid, is, d_loss[_mean|_min|_max], g_loss[...], G_LAYER_sv0 and
    so on; any but the first may be missing. Rows that cannot be read are counted on stderr.
    """
    from ganagerie.training_extra import require_training

    require_training("monitor")

    from training.errors import RunError
    from training.monitor.collapse import Detector
    from training.monitor.series import Series, find_series
    from training.monitor.verdict import Verdict

    def say(verdict: Verdict) -> None:
        if format_ is Format.json:
            typer.echo(json.dumps(verdict.to_record(), ensure_ascii=False))
        else:
            typer.echo(f"iteration {verdict.itr:,}: {verdict}")

    series, detector, rows = Series(find_series(file)), Detector(), 0
    said = Verdict(-1)
    for record in series:
        rows += 1
        verdict = detector.observe(record)
        if rows == 1 or verdict.health is not said.health:
            say(verdict)
            said = verdict
    if not rows:
        raise RunError(f"{series.path}: no row could be read{_reasons(series.unreadable)}")
    if detector.verdict.itr != said.itr:
        say(detector.verdict)
    if series.unreadable:
        count = len(series.unreadable)
        typer.echo(
            f"{count} unreadable row{'s' if count > 1 else ''} of {rows + count}"
            f"{_reasons(series.unreadable)}",
            err=True,
        )


def _reasons(unreadable: list[tuple[int, str]]) -> str:
    told = "; ".join(f"line {line}: {why}" for line, why in unreadable[:_FEW])
    more = "; …" if len(unreadable) > _FEW else ""
    return f": {told}{more}" if told else ""
