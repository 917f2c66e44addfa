"""From a run to the zoo: average weights, standing statistics, ONNX, parity, card, preview."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage

from training import checkpoint, provenance
from training.averaged import served_generator
from training.config import Recipe
from training.errors import RunError
from training.runlog import CHECKPOINTS
from training.state import images_seen
from zoo import card as cards
from zoo.artifact import read_artifact
from zoo.catalog import Entry
from zoo.contact_sheet import contact_sheet
from zoo.exporters.graph import OPSET, ServedGenerator, trace
from zoo.exporters.half_storage import store_weights_as_fp16
from zoo.exporters.parity import Feeds, compare
from zoo.exporters.rewrites import plain, rewritten
from zoo.generator import Generator, load_generator
from zoo.runtime import load_runtime

ARTIFACT = "generator.onnx"
PREVIEW = "preview.png"
_PREVIEW_IMAGES, _MOST_PREVIEW_IMAGES = 64, 256
_TOLERANCE = {"fp32": 1, "fp16": 2}  # grey levels of 255


@dataclass(frozen=True)
class Publication:
    """What a published model is called and said to be, and how it is exported.

    Attributes:
        weights: how they are stored.
        rewrites: export the graph that runs faster; else the one that the network describes.
    """

    name: str
    version: str
    license: str
    limits: str
    weights: Literal["fp32", "fp16"]
    rewrites: bool = True


def publish(run: Path, zoo: Path, publication: Publication) -> Entry:
    """Exports the averaged generator of a run's newest checkpoint into `zoo`.

    The model appears in the zoo whole or not at all, and nothing there is overwritten.

    Raises:
        RunError: the run has no checkpoint, or the zoo cannot be written or has this version.
        ExportError: the exported file does not make the images that torch makes.
    """
    newest = checkpoint.newest(run / CHECKPOINTS)
    if newest is None:
        raise RunError(f"{run} holds no checkpoint to publish")
    state = checkpoint.load(newest)
    recipe = Recipe.model_validate(state["recipe"])
    target = _free_folder(zoo, publication)
    partial = zoo / f".{target.name}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"zoo {zoo}: cannot be written: {error.strerror}") from error
    try:
        served = served_generator(recipe, state)
        card = _export(served, recipe, state, run, partial, publication)
        (partial / cards.CARD).write_text(card.to_json(), encoding="utf-8")
        _preview(load_generator(Entry(partial, card), "cpu")).save(partial / PREVIEW, optimize=True)
        try:
            partial.rename(target)
        except OSError as error:
            raise RunError(f"{target}: somebody else has just published it") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Entry(target, card)


def _free_folder(zoo: Path, publication: Publication) -> Path:
    plain = zoo / publication.name
    versioned = zoo / f"{publication.name}@{publication.version}"
    if versioned.exists() or (
        plain.exists() and cards.read_card(plain / cards.CARD).version == publication.version
    ):
        raise RunError(
            f"{publication.name}@{publication.version} is in {zoo} already and is not overwritten; "
            "choose another --version"
        )
    return versioned if plain.exists() else plain


def _export(
    served: ServedGenerator,
    recipe: Recipe,
    state: dict[str, Any],
    run: Path,
    folder: Path,
    publication: Publication,
) -> cards.Card:
    model = trace(rewritten(served) if publication.rewrites else plain(served))
    if publication.weights == "fp16":
        model = store_weights_as_fp16(model)
    content = model.SerializeToString(deterministic=True)
    (folder / ARTIFACT).write_bytes(content)
    artifact = cards.Artifact(
        file=ARTIFACT,
        sha256=hashlib.sha256(content).hexdigest(),
        opset=OPSET,
        weights=publication.weights,
    )
    session = load_runtime().InferenceSession(
        read_artifact(folder, artifact), providers=["CPUExecutionProvider"]
    )

    def run_file(feeds: Feeds) -> NDArray[np.uint8]:
        images: NDArray[np.uint8] = session.run(["images"], feeds)[0]
        return images

    advice = "; try --weights fp32" if publication.weights == "fp16" else ""
    parity = compare(served, run_file, _TOLERANCE[publication.weights], advice)
    with torch.no_grad():
        _, height, width, channels = served(*served.example(1)).shape
    origin = provenance.read(run)
    return cards.Card(
        name=publication.name,
        version=publication.version,
        architecture=recipe.network.architecture,
        license=publication.license,
        artifact=artifact,
        latent=cards.Latent(dim=served.z_dim, distribution="normal"),
        classes=cards.Classes(names=state["subject"]["class_names"]) if served.n_classes else None,
        image=cards.Image(height=height, width=width, channels=channels),
        truncation=cards.TruncationAdvice(default=None, mode="threshold", curve=None),
        provenance=cards.Provenance(
            recipe=recipe.name,
            dataset=recipe.dataset,
            images_seen=images_seen(state),
            commit=origin["commit"],
            started=origin["started"],
            finished=origin["finished"],
        ),
        quality=None,
        parity=parity,
        limits=publication.limits,
    )


def _preview(generator: Generator) -> PilImage.Image:
    """Untruncated images of seeds from 0; of the classes in order where there are classes."""
    n_classes = len(generator.card.class_names)
    n = min(max(n_classes, _PREVIEW_IMAGES), _MOST_PREVIEW_IMAGES)
    mixtures = [((i % n_classes, 1.0),) for i in range(n)] if n_classes else None
    pixels = generator.generate(range(n), [None] * n, mixtures)
    return contact_sheet([PilImage.fromarray(image.squeeze()) for image in pixels])
