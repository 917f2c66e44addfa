"""What can be set about a server: declared once here; flags and environment derive from it.

Precedence: command-line flag, then environment variable `GANAGERIE_<NAME>`, then default.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from zoo.catalog import BUNDLED
from zoo.runtime import Device


class ServeConfig(BaseSettings):
    """Settings of `ganagerie serve`."""

    model_config = SettingsConfigDict(env_prefix="GANAGERIE_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on, for gRPC and HTTP.")
    port: int = Field(50051, ge=0, le=65535, description="gRPC port; 0 takes a free one.")
    http_port: int = Field(
        8080, ge=0, le=65535, description="Port of /healthz, /readyz and /metrics; 0: a free one."
    )
    zoo: Path = Field(BUNDLED, description="Zoo folder; the bundled one unless given.")
    device: Device = Field(
        "auto", description="auto: CUDA where it works, else CPU. cuda: fail without it."
    )
    max_count: int = Field(4096, ge=1, le=65536, description="Most images that a request may ask.")
    max_batch: int = Field(48, ge=1, le=4096, description="Most images computed at once.")
    max_queue_images: int = Field(
        16384, ge=1, description="Most images waiting, per model; more are refused."
    )
    runners: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        ge=1,
        le=256,
        description="Threads that compute, per model; as many as CPUs unless given.",
    )
    grace_s: float = Field(
        30.0, ge=0, le=3600, description="Seconds to finish running requests after SIGTERM."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else JSON lines."
    )

    @property
    def largest_count(self) -> int:
        """Most images in a request: what the queue can never hold is not worth trying again."""
        return min(self.max_count, self.max_queue_images)


def misspelt_settings() -> dict[str, str]:
    """Environment variables that look like a setting but are none, with what was probably meant.

    Others with our prefix are left alone: Kubernetes makes some for a service called ganagerie.
    """
    known = [f"GANAGERIE_{name.upper()}" for name in ServeConfig.model_fields]
    found = (name for name in os.environ if name.startswith("GANAGERIE_") and name not in known)
    near = {name: difflib.get_close_matches(name, known, n=1, cutoff=0.9) for name in found}
    return {name: matches[0] for name, matches in near.items() if matches}
