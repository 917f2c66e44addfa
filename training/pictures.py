"""Pictures of what a generator makes: classes, truncation, and ways between two images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from training.metrics.truncation_curve import FIRST_SEED
from zoo.contact_sheet import contact_sheet
from zoo.generator import Generator, Mixture
from zoo.latents import Truncation, latents

_COLUMNS, _ROWS = 10, 10
_SHOWN_THRESHOLDS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, None)


def sample_grid(generator: Generator) -> PilImage.Image:
    """Untruncated images: a row a class, each column a seed; ten rows without classes."""
    rows = len(generator.card.class_names) or _ROWS
    seeds = [FIRST_SEED + i for i in range(rows * _COLUMNS)]
    return _sheet(generator.generate(seeds, [None] * len(seeds), _class_a_row(generator, rows)))


def truncations(generator: Generator) -> PilImage.Image:
    """A row a seed, from threshold 0 on the left to no truncation on the right."""
    seeds = [FIRST_SEED + row for row in range(_ROWS) for _ in _SHOWN_THRESHOLDS]
    row = [None if t is None else Truncation(t) for t in _SHOWN_THRESHOLDS]
    return _sheet(generator.generate(seeds, row * _ROWS, _class_a_row(generator, _ROWS)))


def class_mixtures(generator: Generator) -> PilImage.Image:
    """A row a seed, from one class on the left to the next on the right."""
    n_classes = len(generator.card.class_names)
    mixtures: list[Mixture] = []
    for row in range(_ROWS):
        first, second = row % n_classes, (row + 1) % n_classes
        weights = np.linspace(0.0, 1.0, _COLUMNS).tolist()
        mixtures += [((first, 1.0 - weight), (second, weight)) for weight in weights]
    seeds = [FIRST_SEED + row for row in range(_ROWS) for _ in range(_COLUMNS)]
    return _sheet(generator.generate(seeds, [None] * len(seeds), mixtures))


def interpolations(generator: Generator) -> PilImage.Image:
    """A row from one seed's z on the left to the next one's on the right, within a class.

    The way is cos(φ) z₀ + sin(φ) z₁, φ from 0 to π/2. Of two independent N(0, 1) that is N(0, 1)
    all along, so each image is as likely as one drawn afresh. On a straight line the variance falls
    to a half in the middle, and so it does between the uniforms that z is made of: that shows
    truncation as well.
    """
    ends = latents(
        range(FIRST_SEED, FIRST_SEED + _ROWS + 1), [None] * (_ROWS + 1), generator.card.latent.dim
    )
    angle = np.linspace(0.0, np.pi / 2, _COLUMNS)[None, :, None]
    ways = np.cos(angle) * ends[:-1, None] + np.sin(angle) * ends[1:, None]  # [rows, columns, dim]
    z = ways.reshape(_ROWS * _COLUMNS, -1).astype(np.float32)
    return _sheet(generator.generate_from(z, [None] * len(z), _class_a_row(generator, _ROWS)))


def _class_a_row(generator: Generator, rows: int) -> list[Mixture] | None:
    n_classes = len(generator.card.class_names)
    if not n_classes:
        return None
    return [((row % n_classes, 1.0),) for row in range(rows) for _ in range(_COLUMNS)]


def _sheet(pixels: NDArray[np.uint8]) -> PilImage.Image:
    return contact_sheet([PilImage.fromarray(image.squeeze()) for image in pixels], _COLUMNS)
