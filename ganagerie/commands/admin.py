"""`ganagerie admin`: which models a running server holds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from protos.v1 import admin_pb2

EXAMPLES = """
Examples:

  ganagerie admin list --key-file admin.key

  ganagerie admin load letters --key-file admin.key

  ganagerie admin unload letters@1.0.0 --key-file admin.key --target HOST:PORT --tls-ca ca.pem
"""

app = typer.Typer(
    help="Load, reload and unload models of a running server (`ganagerie serve --admin`).",
    epilog=EXAMPLES,
    no_args_is_help=True,
)

KeyFile = Annotated[
    str,
    typer.Option(
        metavar="FILE", help="Holds an admin key, of those in the server's --admin-keys file."
    ),
]
Target = Annotated[str, typer.Option(metavar="HOST:PORT", help="The server.")]
Timeout = Annotated[float, typer.Option(help="Deadline, seconds.")]
Tls = Annotated[bool, typer.Option("--tls", help="TLS, trusting the usual authorities.")]
TlsCa = Annotated[
    str | None, typer.Option(metavar="FILE", help="TLS, trusting those in FILE instead, PEM.")
]
TlsCert = Annotated[
    str | None, typer.Option(metavar="FILE", help="This client's certificate, PEM.")
]
TlsKey = Annotated[str | None, typer.Option(metavar="FILE", help="Its private key, PEM.")]
Reference = Annotated[str, typer.Argument(metavar="MODEL", help="name or name@version")]

HERE = "127.0.0.1:50051"


@app.command("list", epilog="Examples:\n\n  ganagerie admin list --key-file admin.key")
def list_models(
    key_file: KeyFile,
    target: Target = HERE,
    timeout_s: Timeout = 60.0,
    tls: Tls = False,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """List every model of the server's zoo: its state, bytes, running requests, what is wrong."""
    from protos.v1 import admin_pb2 as pb

    secured = {"tls": tls, "tls_ca": tls_ca, "tls_cert": tls_cert, "tls_key": tls_key}
    with _calls(target, key_file, timeout_s, secured) as (stub, call):
        _print(stub.ListStates(pb.ListStatesRequest(), **call).models)


@app.command("load", epilog="Examples:\n\n  ganagerie admin load letters --key-file admin.key")
def load(
    model: Reference,
    key_file: KeyFile,
    target: Target = HERE,
    timeout_s: Timeout = 60.0,
    tls: Tls = False,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Load a model of the server's zoo folder, or load it anew; returns once it answers.

    A model of that name that is loaded answers until then, and goes on if this fails.
    """
    from protos.v1 import admin_pb2 as pb

    secured = {"tls": tls, "tls_ca": tls_ca, "tls_cert": tls_cert, "tls_key": tls_key}
    with _calls(target, key_file, timeout_s, secured) as (stub, call):
        _print([stub.LoadModel(pb.LoadModelRequest(model=model), **call).model])


@app.command("unload", epilog="Examples:\n\n  ganagerie admin unload letters --key-file admin.key")
def unload(
    model: Reference,
    key_file: KeyFile,
    target: Target = HERE,
    timeout_s: Timeout = 60.0,
    tls: Tls = False,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Take a model out of the server until it is loaded again; what runs on it is finished."""
    from protos.v1 import admin_pb2 as pb

    secured = {"tls": tls, "tls_ca": tls_ca, "tls_cert": tls_cert, "tls_key": tls_key}
    with _calls(target, key_file, timeout_s, secured) as (stub, call):
        _print([stub.UnloadModel(pb.UnloadModelRequest(model=model), **call).model])


@contextmanager
def _calls(
    target: str, key_file: str, timeout_s: float, secured: dict[str, Any]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The service, and what every call to it takes."""
    import grpc

    from ganagerie.commands.key_file import read_key
    from ganagerie.connection import connection
    from ganagerie.failures import call_errors
    from protos.v1 import admin_pb2_grpc

    how = connection(api_key=read_key("--key-file", key_file), **secured)
    channel = (
        grpc.secure_channel(target, how.credentials)
        if how.credentials
        else grpc.insecure_channel(target)
    )
    with channel, call_errors(target):
        call = {"timeout": timeout_s, "metadata": how.metadata}
        yield admin_pb2_grpc.AdminStub(channel), call


def _print(models: Iterable[admin_pb2.ModelState]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from protos.v1 import admin_pb2 as pb

    table = Table(box=SIMPLE)
    for heading in ("model", "state", "bytes", "running", "reason"):
        table.add_column(heading, overflow="fold")
    for model in models:
        residence = pb.Residence.Name(model.residence).removeprefix("RESIDENCE_")
        held = f"{model.bytes:,}" if model.bytes else "-"
        cells = (
            model.model,
            residence.lower().replace("_", " "),
            held,
            str(model.running),
            model.reason or "-",
        )
        table.add_row(*map(Text, cells))  # Text: a card is data, not markup
    # Without a terminal there is no width to fit into.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
