"""What is served and measured: models with their graph as it is exported without rewrites."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from benchmarks.export import network
from zoo.card import Artifact, Card, Classes, Image, Latent, Provenance, TruncationAdvice
from zoo.catalog import BUNDLED
from zoo.exporters.graph import ServedGenerator, trace
from zoo.exporters.rewrites import plain, rewritten

BUNDLED_NAMES = ("dcgan-emnist", "biggan-emnist")
NAMES = (*BUNDLED_NAMES, "biggan-cifar10")


@dataclass(frozen=True)
class Subject:
    """A model in a zoo.

    Attributes:
        name: of the model.
        zoo: the folder that is served.
        plain: its graph without rewrites, with random weights, which take as long as others.
    """

    name: str
    zoo: Path
    plain: Path


@contextmanager
def subject(name: str) -> Iterator[Subject]:
    """A bundled model, or an untrained one of a recipe, in a folder that goes away afterwards."""
    with TemporaryDirectory() as made:
        folder = Path(made)
        served = network(name)
        path = folder / f"{name}-plain.onnx"
        onnx.save(trace(plain(served)), path)
        if name in BUNDLED_NAMES:
            yield Subject(name, BUNDLED, path)
        else:
            _write(folder / "zoo", name, served)
            yield Subject(name, folder / "zoo", path)


def _write(zoo: Path, name: str, served: ServedGenerator) -> None:
    content = trace(rewritten(served)).SerializeToString()
    graph = onnx.load_from_string(content).graph
    _, height, width, channels = (d.dim_value for d in graph.output[0].type.tensor_type.shape.dim)
    names = tuple(map(str, range(served.n_classes)))
    card = Card(
        name=name,
        version="0.0.1",
        architecture="biggan",
        license="Apache-2.0",
        artifact=Artifact(
            file="generator.onnx",
            sha256=hashlib.sha256(content).hexdigest(),
            opset=20,
            weights="fp32",
        ),
        latent=Latent(dim=served.z_dim, distribution="normal"),
        classes=Classes(names=names) if names else None,
        image=Image(height=height, width=width, channels=3 if channels == 3 else 1),
        truncation=TruncationAdvice(default=None, mode="threshold", curve=None),
        provenance=Provenance(
            recipe=name, dataset=None, images_seen=0, commit=None, started=None, finished=None
        ),
        quality=None,
        parity=None,
        limits="Untrained: for measuring speed.",
    )
    folder = zoo / name
    folder.mkdir(parents=True)
    (folder / "generator.onnx").write_bytes(content)
    (folder / "card.json").write_text(card.to_json(), encoding="utf-8")
