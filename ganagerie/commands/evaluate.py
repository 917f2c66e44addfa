"""`ganagerie evaluate`: how good a model's images are, and what truncation does to them."""

from __future__ import annotations

import math
import sys
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.catalog import BUNDLED

if TYPE_CHECKING:
    from training.evaluate import Evaluation
    from zoo.catalog import Entry

EXAMPLES = """
Examples:

  ganagerie evaluate biggan-emnist --data data

  ganagerie evaluate dcgan-emnist --samples 2000 --thresholds 0.5,1.0,none --format json

  ganagerie evaluate letters --zoo my-zoo --classifier runs/classifier/classifier.pt --write-card

  ganagerie evaluate runs/letters --out runs/letters/evaluation

  ganagerie evaluate runs/cifar --data data --inception-weights weights-inception-2015-12-05.pth
"""

_HEADINGS = {
    "fid": "Fréchet",
    "kid": "kernel",
    "score": "score",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
    "intra_class_distance": "within classes",
}


class Format(StrEnum):
    """What is printed."""

    table = "table"
    json = "json"


def evaluate(
    model: Annotated[str, typer.Argument(help="name, name@version, or a run directory.")],
    zoo: Annotated[
        Path,
        typer.Option(envvar="GANAGERIE_ZOO", help="Zoo folder.", show_default="the bundled zoo"),
    ] = BUNDLED,
    data: Annotated[
        Path,
        typer.Option(
            envvar="GANAGERIE_DATA",
            help="Folder of the data sets, or a folder or .zip of the images that it was "
            "trained on.",
        ),
    ] = Path("data"),
    classifier: Annotated[
        Path | None,
        typer.Option(
            help="classifier.pt that `ganagerie train classifier-emnist` wrote.",
            show_default="the bundled one",
        ),
    ] = None,
    inception_weights: Annotated[
        Path | None,
        typer.Option(
            help="Measure in Inception's features, with the weights that torch-fidelity "
            "distributes; models of other data than EMNIST always are.",
            show_default="torch hub's cache",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="Images at each threshold.")] = 5000,
    thresholds: Annotated[
        str, typer.Option(help="Truncation thresholds; none is no truncation.")
    ] = "0.1,0.3,0.5,0.6,0.8,1.0,1.5,2.0,none",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for figures, plot and pictures.",
            show_default="evaluations/NAME@VERSION, of a run evaluations/FOLDER",
        ),
    ] = None,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Put the figures on the model's card.")
    ] = False,
    format_: Annotated[Format, typer.Option("--format", help="What is printed.")] = Format.table,
) -> None:
    """Measure a model's images in a classifier's or Inception's features, beside real ones.

    Prints Fréchet distance, kernel distance, score of classes, precision, recall, accuracy and
    variety at each threshold. Writes evaluation.json, truncation_curve.png and pictures.
    """
    from ganagerie.training_extra import require_training

    require_training("evaluate")

    from training.errors import RunError
    from training.evaluate import evaluate as measure
    from training.evaluate import write_card as put_on_card
    from training.evaluate import write_evaluation
    from training.metrics.features import judge_for
    from training.metrics.real_images import RealImages
    from zoo.errors import InvalidRequest
    from zoo.generator import load_generator

    chosen = _parse_thresholds(thresholds)
    if write_card and None not in chosen:
        raise InvalidRequest("--thresholds", "a card needs the figures of no truncation: add none")
    with ExitStack() as stack:
        run = _run_directory(model)
        if run is not None and write_card:
            raise RunError(f"--write-card: {run} is a run and has no card; publish it first")
        entry = _resolve(model, zoo) if run is None else _publish_for_now(run, stack)
        judge = judge_for(entry.card, classifier, inception_weights)
        real = RealImages.of(entry.card, data)
        generator = load_generator(entry)
        with _Progress(samples, len(chosen)) as progress:
            evaluation = measure(generator, judge, real, chosen, samples, progress.advance)
        name = entry.card.reference if run is None else run.resolve().name
        folder = out or Path("evaluations") / name
        written = write_evaluation(folder, evaluation, generator)
        if write_card:
            put_on_card(entry, evaluation)
            written.append(entry.folder / "card.json")
    if format_ is Format.json:
        typer.echo(evaluation.to_json(), nl=False)
    else:
        _print_table(evaluation)
    for path in written:
        typer.echo(f"written: {path}", err=True)


def _parse_thresholds(text: str) -> list[float | None]:
    from zoo.errors import InvalidRequest, shown

    chosen: list[float | None] = []
    for part in (word.strip() for word in text.split(",")):
        try:
            threshold = None if part == "none" else float(part)
        except ValueError:
            threshold = math.nan
        if threshold is not None and not 0 <= threshold < math.inf:
            raise InvalidRequest(
                "--thresholds",
                f"{shown(part)} must be a number, 0 or more, or none, as in 0.5,1.0,none",
            )
        if threshold in chosen:
            raise InvalidRequest("--thresholds", f"{shown(part)} is there twice")
        chosen.append(threshold)
    return chosen


def _run_directory(model: str) -> Path | None:
    from training.runlog import CHECKPOINTS

    return Path(model) if (Path(model) / CHECKPOINTS).is_dir() else None


def _resolve(model: str, zoo: Path) -> Entry:
    from zoo.catalog import Catalog

    return Catalog.open(zoo).resolve(model)


def _publish_for_now(run: Path, stack: ExitStack) -> Entry:
    """A run's generator in a zoo that is removed when `stack` is closed."""
    from tempfile import TemporaryDirectory

    from training.publish import Publication, publish

    zoo = Path(stack.enter_context(TemporaryDirectory(prefix="ganagerie-evaluate-")))
    publication = Publication("run", "0.0.0", "unknown", "Not published.", "fp32")
    return publish(run, zoo, publication)


def _print_table(evaluation: Evaluation) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE, title=f"{evaluation.model}, features of {evaluation.classifier}")
    table.add_column("truncation")
    for heading in ("images", *_HEADINGS.values()):
        table.add_column(heading, justify="right")
    rows = [("none" if p.threshold is None else f"{p.threshold:g}", p) for p in evaluation.curve]
    references = [("real, training", evaluation.real), ("real, test", evaluation.held_out)]
    for name, point in [*rows, *references]:
        metrics = point.metrics()
        figures = (f"{metrics[key]:.4g}" if key in metrics else "-" for key in _HEADINGS)
        if point is evaluation.real:
            table.add_section()
        table.add_row(name, f"{point.samples:,}", *figures)
    # Without a terminal there is no width to fit into.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    note = f"compared with {evaluation.reference_samples:,} training images"
    if evaluation.classifier_test_accuracy is not None:
        right = f"{evaluation.classifier_test_accuracy:.1%}"
        note += f"; the classifier names {right} of the test images rightly"
    typer.echo(note)


class _Progress:
    """A bar of the images made, on a terminal only."""

    def __init__(self, samples: int, thresholds: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(file=sys.stderr)
        self._bar = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("real images", total=samples * thresholds)

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, threshold: float | None, images: int) -> None:
        """After every batch."""
        name = "no truncation" if threshold is None else f"truncation {threshold:g}"
        self._bar.update(self._task, advance=images, description=name)
