"""The bundled class-conditional model: its card's figures, its classes, its mixtures."""

from __future__ import annotations

import numpy as np
import pytest

from ganagerie.local import generate
from ganagerie.messages import Options
from zoo.catalog import BUNDLED, Catalog
from zoo.errors import InvalidRequest


def figures() -> dict[str, float]:
    quality = Catalog.open(BUNDLED).resolve("biggan-emnist").card.quality
    assert quality is not None
    return {metric.name: metric.value for metric in quality}


def pixels(options: Options) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    made = generate(Catalog.open(BUNDLED), "biggan-emnist", options)
    return [np.asarray(image.image) for image in made]


def test_card_tells_what_was_measured() -> None:
    card = Catalog.open(BUNDLED).resolve("biggan-emnist").card
    assert len(card.class_names) == 47
    assert card.provenance.finished is not None
    assert card.truncation.curve is not None
    accuracy = {point.threshold: point.metrics["accuracy"] for point in card.truncation.curve}
    assert accuracy[None] > 0.8
    assert accuracy[0.3] > accuracy[None]
    assert figures()["fid"] <= 3 * figures()["fid real"]


def test_a_class_is_varied_and_truncation_makes_it_less_so() -> None:
    free = np.stack(pixels({"count": 32, "seed": 1, "classes": "A"})).astype(float)
    near = np.stack(pixels({"count": 32, "seed": 1, "classes": "A", "truncation": 0.3}))
    assert free.std(0).mean() > 2 * near.astype(float).std(0).mean()


def test_a_mixture_is_neither_of_its_classes() -> None:
    (mixed,) = pixels({"seed": 1, "classes": {"A": 0.5, "R": 0.5}})
    for name in ("A", "R"):
        (pure,) = pixels({"seed": 1, "classes": name})
        assert np.abs(mixed.astype(int) - pure.astype(int)).max() > 8


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="'ß' is not a class of biggan-emnist"):
        pixels({"seed": 1, "classes": "ß"})
