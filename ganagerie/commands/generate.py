"""`ganagerie generate`: images into a file, a folder or a pipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganagerie.commands.destination import Destination
from zoo.catalog import BUNDLED

if TYPE_CHECKING:
    from ganagerie.client import Client
    from ganagerie.image import GeneratedImage
    from ganagerie.messages import Class, Options

    Server = Callable[[], Client]

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
_TIMEOUT_S = 60.0


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
    bulk: Annotated[
        bool,
        typer.Option("--bulk", help="With --target: can wait until nothing else fills the server."),
    ] = False,
    timeout_s: Annotated[
        float | None,
        typer.Option(help="Deadline with --target, seconds.", show_default=str(_TIMEOUT_S)),
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="With --target: TLS, trusting the usual authorities.")
    ] = False,
    tls_ca: Annotated[
        str | None, typer.Option(metavar="FILE", help="TLS, trusting those in FILE instead, PEM.")
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option(metavar="FILE", help="This client's certificate, PEM.")
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="Its private key, PEM.")
    ] = None,
    api_key_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Holds the API key; else it is taken from GANAGERIE_API_KEY."
        ),
    ] = None,
) -> None:
    """Generate images by class, truncation and seed."""
    from zoo.errors import InvalidRequest

    if output == "-" and count != 1:
        raise InvalidRequest("-o -", f"writes one image, not {count}; use -n 1, FILE.png or DIR/")
    if output == "-" and every_class:
        raise InvalidRequest("-o -", "writes one image; with --every-class use FILE.png or DIR/")
    secured = {"tls": tls, "tls_ca": tls_ca, "tls_cert": tls_cert, "tls_key": tls_key}
    server = _server(target, timeout_s, bulk, secured, api_key_file)
    destination = Destination(output)
    options: Options = {"count": count, "seed": seed, "truncation": truncation}
    if bulk:
        options["priority"] = "bulk"
    if truncation_mode is not None:
        options["truncation_mode"] = truncation_mode.value
    if every_class:
        if classes:
            raise InvalidRequest("--every-class", "leave out --class with it")
        names = _class_names(zoo, model, server)
        options["count"] = _checked(count * len(names))
        options["classes"] = [name for name in names for _ in range(count)]
    elif classes:
        chosen = [_parse_class(text) for text in classes]
        options["classes"] = chosen[0] if len(chosen) == 1 else chosen
    images = _from_server(server, model, options) if server else _in_process(zoo, model, options)
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


def _class_names(zoo: Path, model: str, server: Server | None) -> tuple[str, ...]:
    from zoo.errors import InvalidRequest

    if server:
        with server() as client:
            names = client.model(model).class_names
    else:
        from zoo.catalog import Catalog

        names = Catalog.open(zoo).resolve(model).card.class_names
    if not names:
        raise InvalidRequest("--every-class", f"{model} has no classes")
    return names


def _checked(count: int) -> int:
    """Before a list of as many names is made: neither this process nor a server takes more."""
    from ganagerie.local import MAX_COUNT
    from zoo.errors import InvalidRequest

    if not 1 <= count <= MAX_COUNT:
        raise InvalidRequest("count", f"{count} is outside 1 to {MAX_COUNT}")
    return count


def _in_process(zoo: Path, model: str, options: Options) -> Iterable[GeneratedImage]:
    from ganagerie.local import generate
    from zoo.catalog import Catalog

    return generate(Catalog.open(zoo), model, options)


def _from_server(server: Server, model: str, options: Options) -> Iterable[GeneratedImage]:
    with server() as client:
        yield from client.stream(model, **options)


def _server(
    target: str | None,
    timeout_s: float | None,
    bulk: bool,
    secured: dict[str, Any],
    api_key_file: str | None,
) -> Server | None:
    """Makes a client, where there is a target."""
    from zoo.errors import InvalidRequest

    if target is not None:
        from ganagerie.client import Client

        if not target:
            raise InvalidRequest("--target", "is empty; name HOST:PORT, or leave it out")
        key = _api_key(api_key_file)
        deadline_s = _TIMEOUT_S if timeout_s is None else timeout_s
        return lambda: Client(target, timeout_s=deadline_s, api_key=key, **secured)
    given = {**secured, "api_key_file": api_key_file, "bulk": bulk, "timeout_s": timeout_s}
    for name, value in given.items():
        if value is not None and value is not False:
            raise InvalidRequest(f"--{name.replace('_', '-')}", "needs --target beside it")
    return None


def _api_key(file: str | None) -> str | None:
    from ganagerie.commands.key_file import read_key

    if file is None:
        return os.environ.get("GANAGERIE_API_KEY")
    return read_key("--api-key-file", file)


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
