"""Whether a model works on a device, how fast, and whether two devices agree."""

from __future__ import annotations

import time
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ganagerie.doctor.report import Agreement, ModelCheck
from zoo.card import Card
from zoo.catalog import Entry
from zoo.errors import one_line
from zoo.generator import Generator, Mixture, load_generator

BATCHES = (1, 4, 16, 64)
COMPARED = 64  # images
_EACH_S = 0.25  # of measuring one size of batch: enough to tell fast from slow, no benchmark


def check(
    entry: Entry, device: Literal["cpu", "cuda"]
) -> tuple[ModelCheck, NDArray[np.uint8] | None]:
    """Loads a model, makes images with it; returns those to compare with another device's."""
    reference = entry.card.reference
    started_s = time.perf_counter()
    try:
        generator = load_generator(entry, device)
        one = _images(generator, 1)
        load_ms = (time.perf_counter() - started_s) * 1e3
        images = _images(generator, COMPARED)
        speeds = {batch: _images_per_s(generator, batch) for batch in BATCHES}
    except Exception as error:  # noqa: BLE001  onnxruntime's own, when a graph fails as it runs
        return ModelCheck(model=reference, device=device, error=one_line(error)), None
    levels = (int(one.min()), int(one.max()))
    dead = f"the image of seed 0 is all {levels[0]}" if levels[0] == levels[1] else None
    found = ModelCheck(
        model=reference,
        device=device,
        provider=generator.provider,
        load_ms=round(load_ms, 1),
        levels=levels,
        images_per_s=speeds,
        error=dead,
    )
    return found, images


def compare(card: Card, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Agreement:
    """How far two devices' images of the same seeds are apart."""
    apart = np.abs(one.astype(np.int16) - other.astype(np.int16))
    return Agreement(
        model=card.reference,
        images=len(one),
        largest_difference=int(apart.max()),
        differing_pixels=round(float(np.mean(apart > 0)), 6),
    )


def _images(generator: Generator, count: int) -> NDArray[np.uint8]:
    """Of seeds from 0 on, classes in turn."""
    n_classes = len(generator.card.class_names)
    mixtures: list[Mixture] | None = None
    if n_classes:
        mixtures = [((i % n_classes, 1.0),) for i in range(count)]
    return generator.generate(range(count), [None] * count, mixtures)


def _images_per_s(generator: Generator, batch: int) -> float:
    _images(generator, batch)
    made = 0
    started_s = time.perf_counter()
    while (passed_s := time.perf_counter() - started_s) < _EACH_S or not made:
        _images(generator, batch)
        made += batch
    return round(made / passed_s, 1)
