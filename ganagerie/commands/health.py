"""`ganagerie health`: one question to `grpc.health.v1`, for container and shell scripts."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = """
Examples:

  ganagerie health

  ganagerie health --address gpu-3:50051 --service ganagerie.v1.ImageGeneration

  ganagerie health --tls-ca ca.pem --tls-name ganagerie.example.org

  GANAGERIE_HEALTH_ADDRESS=127.0.0.1:6000 ganagerie health && echo it serves
"""

_VARIABLE = "GANAGERIE_HEALTH_"


def health(
    address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", envvar=_VARIABLE + "ADDRESS", help="The server's gRPC port."
        ),
    ] = "127.0.0.1:50051",
    service: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            envvar=_VARIABLE + "SERVICE",
            help="Full name of a gRPC service.",
            show_default="the server as a whole",
        ),
    ] = "",
    timeout_s: Annotated[
        float, typer.Option(min=0.1, max=600, help="Deadline of the answer, seconds.")
    ] = 3.0,
    tls: Annotated[
        bool,
        typer.Option(
            "--tls", envvar=_VARIABLE + "TLS", help="TLS, trusting the usual authorities."
        ),
    ] = False,
    tls_ca: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            envvar=_VARIABLE + "TLS_CA",
            help="TLS, trusting those in FILE instead, PEM.",
        ),
    ] = None,
    tls_cert: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", envvar=_VARIABLE + "TLS_CERT", help="This client's certificate, PEM."
        ),
    ] = None,
    tls_key: Annotated[
        str | None,
        typer.Option(metavar="FILE", envvar=_VARIABLE + "TLS_KEY", help="Its private key, PEM."),
    ] = None,
    tls_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            envvar=_VARIABLE + "TLS_NAME",
            help="Name in the server's certificate, where HOST is another.",
        ),
    ] = None,
) -> None:
    """Ask a server how it is: one line, and exit code 0 if it is SERVING, else 1.

    Asks once, without an API key, and not through a proxy. Where a flag is not given, the
    variable GANAGERIE_HEALTH_NAME is looked at.
    """
    from zoo.errors import GanagerieError

    secured = {"tls_ca": tls_ca, "tls_cert": tls_cert, "tls_key": tls_key}
    try:
        state = _ask(address, service, timeout_s, tls, secured, tls_name)
    except GanagerieError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{address}{service and ' ' + service} is {state}")
    raise typer.Exit(state != "SERVING")


def _ask(
    address: str,
    service: str,
    timeout_s: float,
    tls: bool,
    files: dict[str, str | None],
    tls_name: str | None,
) -> str:
    """The state's name in the protocol.

    Raises:
        ClientError: no answer.
        InvalidRequest: the service is not one of the server's, or a file cannot be used.
    """
    import grpc
    from grpc_health.v1 import health_pb2 as pb
    from grpc_health.v1.health_pb2_grpc import HealthStub

    from ganagerie.connection import connection
    from ganagerie.failures import call_errors
    from zoo.errors import InvalidRequest, ModelNotFound

    credentials = connection(tls=tls, **files).credentials
    options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0)]
    if tls_name is not None:
        if credentials is None:
            raise InvalidRequest("--tls-name", "needs --tls or --tls-ca beside it")
        options.append(("grpc.ssl_target_name_override", tls_name))
    channel = (
        grpc.secure_channel(address, credentials, options=options)
        if credentials
        else grpc.insecure_channel(address, options=options)
    )
    with channel:
        try:
            with call_errors(address):
                answer = HealthStub(channel).Check(
                    pb.HealthCheckRequest(service=service), timeout=timeout_s
                )
        except ModelNotFound as error:  # what call_errors makes of NOT_FOUND
            raise InvalidRequest("--service", f"{service!r}: {error}") from error
    return str(pb.HealthCheckResponse.ServingStatus.Name(answer.status))
