"""`ganagerie zoo pull` and `push`: models from elsewhere, and to elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ganagerie.commands.zoo import Reference, ZooOption
from zoo.catalog import BUNDLED

PULL_EXAMPLES = """
Examples:

  ganagerie zoo pull hf://ORG/NAME --zoo my-zoo

  ganagerie zoo pull https://example.org/models/letters --zoo my-zoo

  ganagerie zoo pull s3://bucket/letters --zoo my-zoo && ganagerie serve --zoo my-zoo
"""
PUSH_EXAMPLES = """
Examples:

  ganagerie zoo push dcgan-emnist s3://bucket/dcgan-emnist

  ganagerie zoo push letters hf://ORG/NAME --zoo my-zoo
"""
_MAX_BYTES = 2 * 1024**3


def pull(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="Folder that holds card.json and the ONNX file: https://HOST/PATH, hf://ORG/NAME, "
            "s3://BUCKET/PATH or file:///PATH.",
        ),
    ],
    zoo: Annotated[Path, typer.Option(envvar="GANAGERIE_ZOO", help="Zoo folder; made if missing.")],
    max_bytes: Annotated[
        int, typer.Option(min=1, max=_MAX_BYTES, help="Most bytes of the ONNX file.")
    ] = _MAX_BYTES,
) -> None:
    """Fetch a model into a zoo.

    Nothing is put in place before its checksum is the card's and onnxruntime has loaded it. A
    download that broke off is gone on with by the same command, where the other side can.
    """
    from ganagerie.errors import HubError
    from ganagerie.hub.pull import pull as fetch
    from ganagerie.hub.source import Source

    source = Source(url)
    try:
        with _bar(url) as progress:
            card, folder, new = fetch(source, zoo, max_bytes=max_bytes, progress=progress)
    except OSError as error:
        raise HubError(f"cannot write to {zoo}: {error.strerror}") from error
    told = "fetched" if new else "is there already"
    typer.echo(f"{card.reference} {told}: {folder}", err=True)


def push(
    model: Reference,
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="Folder: hf://ORG/NAME, s3://BUCKET/PATH, file:///PATH"),
    ],
    zoo: ZooOption = BUNDLED,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite another model that is there.")
    ] = False,
) -> None:
    """Put a model into a folder elsewhere, from which `pull` fetches it."""
    from ganagerie.hub.push import push as put
    from ganagerie.hub.source import Source
    from zoo.catalog import Catalog

    entry = Catalog.open(zoo).resolve(model)
    new = put(entry, Source(url, to_write=True), replace=replace)
    typer.echo(f"{entry.card.reference} {'put' if new else 'is there already'}: {url}", err=True)


@contextmanager
def _bar(url: str) -> Iterator[Callable[[int, int | None], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(url, total=None)

        def progress(done: int, size: int | None) -> None:
            bar.update(task, completed=done, total=size)

        yield progress
