"""Ganagerie: a GAN zoo that trains, watches and serves.

The Python clients:

    from ganagerie import Client

    with Client("127.0.0.1:50051") as client:
        images = client.generate("dcgan-emnist", count=16, truncation=0.7, seed=1)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganagerie.version import __version__

if TYPE_CHECKING:
    from ganagerie.client import AsyncClient as AsyncClient
    from ganagerie.client import Client as Client
    from ganagerie.image import GeneratedImage as GeneratedImage

__all__ = ["AsyncClient", "Client", "GeneratedImage", "__version__"]


def __getattr__(name: str) -> object:
    # Loaded when first used, so that `ganagerie --help` does not wait for gRPC.
    if name in {"AsyncClient", "Client"}:
        from ganagerie import client

        return getattr(client, name)
    if name == "GeneratedImage":
        from ganagerie.image import GeneratedImage

        return GeneratedImage
    raise AttributeError(f"module 'ganagerie' has no attribute {name!r}")
