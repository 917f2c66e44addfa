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

WATCH_EXAMPLES = """
Examples:

  ganagerie monitor watch runs/letters

  ganagerie monitor watch spectra.jsonl --once
"""

REPORT_EXAMPLES = """
Examples:

  ganagerie monitor report runs/letters

  ganagerie monitor report somebodys-run.csv --out report.html
"""

_FEW = 3  # unreadable rows that are told one by one


class Format(StrEnum):
    """What is printed."""

    text = "text"
    json = "json"


RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run directory, spectra.jsonl, or a CSV.")
]


@app.command(epilog=WATCH_EXAMPLES)
def watch(
    run: RunArgument,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and exit.")] = False,
    every_s: Annotated[
        float, typer.Option("--every", min=0.1, max=3600, help="Seconds between frames.")
    ] = 1.0,
) -> None:
    """Watch a run that trains in another process, or look at a finished one.

    Reads the files of the run and nothing else: it works over ssh, and never disturbs the training.
    Ctrl-C ends it. Where stdout is no terminal one frame is printed, as with --once.
    """
    from ganagerie.training_extra import require_training

    require_training("monitor")

    from training.monitor.views.watch import watch as show

    show(run, every_s, once=once)


@app.command(epilog=REPORT_EXAMPLES)
def report(
    run: RunArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page; a PNG with the figures goes beside it.",
            show_default="RUN/report.html, or NAME-report.html beside a file",
        ),
    ] = None,
) -> None:
    """Write a page about a run: its verdict, the paper's figures, and samples that mattered.

    One HTML file that needs nothing else, and the figures alone as a PNG.
    """
    from ganagerie.training_extra import require_training

    require_training("monitor")

    from training.monitor.views.report import write_report

    for path in write_report(run, out):
        typer.echo(str(path))


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
