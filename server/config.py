"""What can be set about a server: declared once here; flags, environment and file derive from it.

`server/config_file.py` puts them together: a flag wins over an environment variable
`GANAGERIE_<NAME>`, that over the file, and the file over the default.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from zoo.catalog import BUNDLED
from zoo.runtime import Device

CONFIG_VARIABLE: Final = "GANAGERIE_CONFIG"  # the file's name: a setting of the command, see there
_NO_SETTINGS: Final = (CONFIG_VARIABLE, "GANAGERIE_API_KEY")  # the second is a caller's


def _not_empty(value: object) -> object:
    # An empty variable must not silently mean a server without TLS or keys.
    if value == "":
        raise PydanticCustomError("empty", "is empty; name a file, or leave it out")
    return value


SecretFile = Annotated[Path | None, BeforeValidator(_not_empty)]


class ServeConfig(BaseSettings):
    """Settings of `ganagerie serve`."""

    model_config = SettingsConfigDict(env_prefix="GANAGERIE_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on, for gRPC and HTTP.")
    http_host: str | None = Field(
        None, min_length=1, description="Address for HTTP; that of --host unless given."
    )
    port: int = Field(50051, ge=0, le=65535, description="gRPC port; 0 takes a free one.")
    http_port: int = Field(
        8080, ge=0, le=65535, description="Port of /healthz, /readyz and /metrics; 0: a free one."
    )
    zoo: Path = Field(BUNDLED, description="Zoo folder; the bundled one unless given.")
    device: Device = Field(
        "auto", description="auto: CUDA where it works, else CPU. cuda: fail without it."
    )
    max_count: int = Field(4096, ge=1, le=65536, description="Most images that a request may ask.")
    max_batch: int = Field(256, ge=1, le=4096, description="Most images computed at once.")
    max_batch_ms: float = Field(
        25.0,
        gt=0,
        le=60_000,
        description="Milliseconds that computing a batch may take: fewer images are computed at "
        "once where that many take longer.",
    )
    max_queue_images: int = Field(
        16384, ge=1, description="Most images waiting, per model; more are refused."
    )
    max_queue_bytes: int = Field(
        256 * 1024 * 1024,
        ge=16 * 1024 * 1024,
        description="Most memory of requests that have not been answered, per model, finished "
        "images included; more are refused.",
    )
    max_queue_delay_ms: float = Field(
        0.0,
        ge=0,
        le=10_000,
        description="Milliseconds that an image may wait for a batch to fill up; 0: a free runner "
        "takes what there is.",
    )
    cache_bytes: int = Field(
        0,
        ge=0,
        description="Memory for finished images that may be asked for again, per model; 0: none.",
    )
    gpus: str = Field(
        "0",
        pattern=r"^\d+(,\d+)*$",
        description="CUDA devices by number, separated by commas; all work on each model.",
    )
    tf32: bool = Field(
        False,
        description="On GPUs, multiply with 10 bits of a factor: large models are up to four times "
        "as fast, images a grey level or two off the CPU's.",
    )
    runners: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        ge=1,
        le=256,
        description="Batches computed at once on the CPU, per model; as many as CPUs unless given.",
    )
    watch: bool = Field(
        False, description="Follow the zoo folder: models that come, change and go."
    )
    watch_interval_s: float = Field(
        2.0,
        ge=0.01,
        le=3600,
        description="Seconds between two looks at the zoo folder; a change counts at the second "
        "look that sees it.",
    )
    max_loaded_models: int = Field(
        0,
        ge=0,
        le=10**6,
        description="Most models in memory; the one used least recently leaves, and comes back "
        "when it is asked for; 0: all stay.",
    )
    max_model_bytes: int = Field(
        0,
        ge=0,
        le=2**62,
        description="Most bytes of ONNX files in memory, as they lie in the zoo; likewise.",
    )
    shutdown_delay_s: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="Seconds after SIGTERM in which health says NOT_SERVING and all is served, so "
        "that load balancers turn away first.",
    )
    grace_s: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="Seconds to finish running requests after SIGTERM, and after that delay.",
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else JSON lines."
    )

    traces: Literal["off", "otlp"] = Field(
        "off",
        description="off, or otlp: a trace of each call, to the collector that "
        "OTEL_EXPORTER_OTLP_ENDPOINT names; needs the extra otel.",
    )

    tls_cert: SecretFile = Field(
        None, description="TLS on the gRPC port: file of the certificate and its chain, PEM."
    )
    tls_key: SecretFile = Field(None, description="File of the certificate's private key, PEM.")
    tls_client_ca: SecretFile = Field(
        None, description="Clients must show a certificate of an authority in this file, PEM."
    )
    api_keys: SecretFile = Field(
        None, description="Callers must send a key of this file: lines of NAME KEY."
    )
    admin: bool = Field(
        False, description="Offer the admin service: load, reload and unload models."
    )
    admin_keys: SecretFile = Field(
        None, description="Who calls the admin service must send a key of this file instead."
    )
    max_in_flight_per_key: int = Field(
        0, ge=0, description="Most requests running at once for one API key; 0: any number."
    )
    max_request_bytes: int = Field(
        4 * 1024 * 1024, ge=1024, le=2**31 - 1, description="Largest message that is received."
    )
    max_metadata_bytes: int = Field(
        16384, ge=1024, le=2**20, description="Most bytes of metadata in a request."
    )
    max_streams: int = Field(
        1024, ge=1, le=2**31 - 1, description="Most requests at once on one connection; more wait."
    )
    max_connection_age_s: float = Field(
        0.0,
        ge=0,
        le=10**6,
        description="Age at which a connection takes no more requests, give or take a tenth, so "
        "that clients connect anew; 0: none.",
    )
    max_connection_age_grace_s: float = Field(
        30.0, ge=0, le=10**6, description="Seconds that requests on such a connection may go on."
    )
    min_ping_interval_s: float = Field(
        30.0,
        ge=0,
        le=10**6,
        description="A client that sends keepalive pings more often is disconnected; 0: never.",
    )

    @model_validator(mode="after")
    def _needs(self) -> Self:
        for name, needed in _NEEDS:
            if getattr(self, name) and not getattr(self, needed):
                raise PydanticCustomError(
                    "needs", "{name} needs {needed} beside it", {"name": name, "needed": needed}
                )
        return self

    @property
    def gpu_numbers(self) -> tuple[int, ...]:
        """`gpus`, each once."""
        return tuple(dict.fromkeys(map(int, self.gpus.split(","))))

    @property
    def largest_count(self) -> int:
        """Most images in a request: what the queue can never hold is not worth trying again."""
        return min(self.max_count, self.max_queue_images)


_NEEDS: Final = (
    ("tls_cert", "tls_key"),
    ("tls_key", "tls_cert"),
    ("tls_client_ca", "tls_cert"),
    ("max_in_flight_per_key", "api_keys"),
    ("admin", "api_keys"),
    ("admin", "admin_keys"),
    ("admin_keys", "admin"),
)


def misspelt_settings() -> dict[str, str]:
    """Environment variables that look like a setting but are none, with what was probably meant.

    Others with our prefix are left alone: Kubernetes makes some for a service called ganagerie.
    """
    known = [*_NO_SETTINGS, *(f"GANAGERIE_{name.upper()}" for name in ServeConfig.model_fields)]
    found = (name for name in os.environ if name.startswith("GANAGERIE_") and name not in known)
    near = {name: difflib.get_close_matches(name, known, n=1, cutoff=0.9) for name in found}
    return {name: matches[0] for name, matches in near.items() if matches}
