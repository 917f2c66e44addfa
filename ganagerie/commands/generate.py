"""`ganagerie generate`: images into a file, a folder or a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganagerie.errors import OutputError
from zoo.catalog import BUNDLED

if TYPE_CHECKING:
    from ganagerie.image import GeneratedImage
    from ganagerie.messages import Class, Options

EXAMPLES = """
Examples:

  ganagerie generate dcgan-emnist -n 64 -o letters.png

  ganagerie generate dcgan-emnist -n 16 --seed 1 --truncation 0.7 -o letters/

  ganagerie generate dcgan-emnist --seed 7 -o - > seven.png

  ganagerie generate biggan-emnist --class A --truncation 0.5 -n 64 -o a.png

  ganagerie generate biggan-emnist --every-class -n 8 -o all.png

  ganagerie generate dcgan-emnist -n 64 -o letters.png --target 127.0.0.1:50051
"""


_PROGRESS_FROM = 500  # images; fewer take a blink


class Mode(StrEnum):
    """What the truncation value means."""

    threshold = "threshold"
    scale = "scale"


def generate(
    model: Annotated[str, typer.Argument(help="name, or name@version")],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="FILE.png: a contact sheet. DIR/: one PNG an image, named by seed. "
            "-: one image to standard output.",
        ),
    ],
    count: Annotated[int, typer.Option("--count", "-n", help="How many images.")] = 1,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help='Class name, or a mixture as "A:0.5,R:0.5". Once: for all images; '
            "or as many times as there are images.",
        ),
    ] = None,
    every_class: Annotated[
        bool,
        typer.Option("--every-class", help="-n images of every class, one class after the other."),
    ] = False,
    truncation: Annotated[
        float | None, typer.Option(help="Truncation threshold; lower is more typical, less varied.")
    ] = None,
    truncation_mode: Annotated[
        Mode | None, typer.Option(help="What the threshold means.", show_default="threshold")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Image i has seed SEED + i; drawn and printed if not given.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Ask a server; else in this process.")
    ] = None,
    zoo: Annotated[
        Path,
        typer.Option(
            envvar="GANAGERIE_ZOO",
            help="Zoo folder, without --target.",
            show_default="the bundled zoo",
        ),
    ] = BUNDLED,
    timeout_s: Annotated[float, typer.Option(help="Deadline with --target, seconds.")] = 60.0,
) -> None:
    """Generate images by class, truncation and seed."""
    from zoo.errors import InvalidRequest

    if output == "-" and count != 1:
        raise InvalidRequest("-o -", f"writes one image, not {count}; use -n 1, FILE.png or DIR/")
    if output == "-" and every_class:
        raise InvalidRequest("-o -", "writes one image; with --every-class use FILE.png or DIR/")
    destination = _Destination(output)
    options: Options = {"count": count, "seed": seed, "truncation": truncation}
    if truncation_mode is not None:
        options["truncation_mode"] = truncation_mode.value
    if every_class:
        if classes:
            raise InvalidRequest("--every-class", "leave out --class with it")
        names = _class_names(zoo, model, target, timeout_s)
        options["classes"] = [name for name in names for _ in range(count)]
        options["count"] = count * len(names)
    elif classes:
        chosen = [_parse_class(text) for text in classes]
        options["classes"] = chosen[0] if len(chosen) == 1 else chosen
    if target:
        images = _from_server(target, model, options, timeout_s)
    else:
        images = _in_process(zoo, model, options)
    made = sorted(_with_progress(images, options["count"]), key=lambda image: image.index)
    destination.write(made, count if every_class else None)
    seeds = f"seed {made[0].seed}" + (f" to {made[-1].seed}" if len(made) > 1 else "")
    typer.echo(f"{len(made)} of {model}, {seeds}: {output}", err=True)


def _with_progress(images: Iterable[GeneratedImage], count: int) -> Iterable[GeneratedImage]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    few = count < _PROGRESS_FROM or not console.is_terminal
    return track(images, "generating", count, console=console, transient=True, disable=few)


def _class_names(zoo: Path, model: str, target: str | None, timeout_s: float) -> tuple[str, ...]:
    from zoo.errors import InvalidRequest

    if target:
        from ganagerie.client import Client

        with Client(target, timeout_s=timeout_s) as client:
            names = client.model(model).class_names
    else:
        from zoo.catalog import Catalog

        names = Catalog.open(zoo).resolve(model).card.class_names
    if not names:
        raise InvalidRequest("--every-class", f"{model} has no classes")
    return names


def _in_process(zoo: Path, model: str, options: Options) -> Iterable[GeneratedImage]:
    from ganagerie.local import generate
    from zoo.catalog import Catalog

    return generate(Catalog.open(zoo), model, options)


def _from_server(
    target: str, model: str, options: Options, timeout_s: float
) -> Iterable[GeneratedImage]:
    from ganagerie.client import Client

    with Client(target, timeout_s=timeout_s) as client:
        yield from client.stream(model, **options)


def _parse_class(text: str) -> Class:
    """`A`, or a mixture `A:0.5,R:0.5`."""
    from zoo.errors import InvalidRequest, shown

    if ":" not in text:
        return text
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.rpartition(":")
        if name in weights:
            raise InvalidRequest("--class", f"{shown(text)}: {name!r} is there twice")
        try:
            weights[name] = float(weight)
        except ValueError as error:
            raise InvalidRequest(
                "--class", f'{shown(text)}: must be a name, or NAME:WEIGHT,… as in "A:0.5,R:0.5"'
            ) from error
    return weights


class _Destination:
    """Where images go; what is in the way is found before any image is made."""

    def __init__(self, output: str) -> None:
        self._output = output
        self.path = Path(output)
        self.is_pipe = output == "-"
        self.is_folder = not self.is_pipe and (output.endswith(("/", os.sep)) or self.path.is_dir())
        try:
            self._check()
        except OSError as error:
            raise OutputError(f"cannot write {output}: {error.strerror}") from error

    def _check(self) -> None:
        if not self._output:
            raise OutputError("-o is empty: name a FILE.png, a DIR/, or - for standard output")
        if self.is_pipe:
            if sys.stdout.isatty():
                raise OutputError("-o - writes a PNG, which a terminal cannot show: pipe it on")
        elif self.is_folder:
            _require_writable_folder(next(p for p in (self.path, *self.path.parents) if p.exists()))
        elif self.path.suffix.lower() != ".png":
            raise OutputError(
                f"-o {self._output}: must end in .png (a contact sheet), in / (a folder, "
                "one PNG an image), or be - (one image to standard output)"
            )
        else:
            _require_writable_folder(self.path.parent)
            if self.path.exists():
                _require_writable(self.path)

    def write(self, images: Sequence[GeneratedImage], columns: int | None) -> None:
        """Writes all images; `columns` is of a contact sheet, None for as square as it gets.

        Raises:
            OutputError: the disk or the reader does not take them.
        """
        try:
            if self.is_pipe:
                sys.stdout.buffer.write(images[0].data)
                sys.stdout.buffer.flush()
            elif self.is_folder:
                self.path.mkdir(parents=True, exist_ok=True)
                for image in images:
                    (self.path / f"{image.seed}.png").write_bytes(image.data)
            else:
                from zoo.contact_sheet import contact_sheet

                contact_sheet([image.image for image in images], columns).save(self.path)
        except OSError as error:
            raise OutputError(f"cannot write {self._output}: {error.strerror}") from error


def _require_writable_folder(path: Path) -> None:
    if not path.exists():
        raise OutputError(f"cannot write to {path}: there is no such folder")
    if not path.is_dir():
        raise OutputError(f"cannot write to {path}: it is not a folder")
    _require_writable(path)


def _require_writable(path: Path) -> None:
    if not os.access(path, os.W_OK):
        raise OutputError(f"cannot write to {path}: permission denied")
