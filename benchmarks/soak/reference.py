"""What images must be: made once, in this process, without a server."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

SEEDS: Final = 64  # seeds 0 to 63 are compared byte for byte
MODELS: Final = ("biggan-emnist", "dcgan-emnist")

Digests = dict[str, dict[str, list[str]]]
"""SHA-256 by model, then by format (png, raw), in the order of the seeds."""


def digest(data: bytes) -> str:
    """Of an image's bytes."""
    return hashlib.sha256(data).hexdigest()


def write_reference(file: Path) -> None:
    """Makes the images and writes their digests."""
    from ganagerie.local import generate  # no client needs what it loads
    from zoo.catalog import BUNDLED, Catalog

    catalog = Catalog.open(BUNDLED)
    found: Digests = {
        model: {
            kind: [
                digest(image.data)
                for image in generate(catalog, model, {"count": SEEDS, "seed": 0, "format": kind})
            ]
            for kind in ("png", "raw")
        }
        for model in MODELS
    }
    file.write_text(json.dumps(found))


def read_reference(file: Path) -> Digests:
    """What `write_reference` wrote."""
    found: Digests = json.loads(file.read_text())
    return found
