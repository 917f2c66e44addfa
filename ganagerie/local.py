"""Generating in this process, without a server: the same plans, pixels and bytes."""

from __future__ import annotations

from collections.abc import Iterator

from ganagerie.image import GeneratedImage
from ganagerie.messages import Options, to_image, to_request
from server.requests import FinishedImage, Plan, plan
from server.translation import from_message, to_message
from zoo.catalog import Catalog
from zoo.generator import Generator, load_generator
from zoo.runtime import Device

MAX_COUNT = 65536  # images in one call
_BATCH = 32


def generate(
    catalog: Catalog, model: str, options: Options, device: Device = "auto"
) -> Iterator[GeneratedImage]:
    """Makes images, in order of index.

    Args:
        catalog: where the model is looked up.
        model: `name`, for its newest version, or `name@version`.
        options: what is asked for.
        device: what runs it.

    Raises:
        GanagerieError: the errors of `plan`, `Catalog.resolve` and `load_generator`.
    """
    entry = catalog.resolve(model)
    planned = plan(from_message(to_request(model, options)), entry.card, MAX_COUNT)
    generator = load_generator(entry, device)
    for start in range(0, planned.count, _BATCH):
        for finished in make(planned, generator, range(start, min(start + _BATCH, planned.count))):
            yield to_image(to_message(finished, planned, entry.card))


def make(planned: Plan, generator: Generator, indices: range) -> list[FinishedImage]:
    """The images of a plan from `indices.start` to before `indices.stop`, as one batch.

    A pure function: whoever calls it, wherever and in what order, gets the same bytes.
    """
    seeds = [planned.seeds[i] for i in indices]
    mixtures = [planned.mixture(i) for i in indices]
    pixels = generator.generate(
        seeds,
        [planned.truncation(i) for i in indices],
        [m for m in mixtures if m is not None] or None,
    )
    return [
        FinishedImage(i, seed, mixture, planned.encoding.encode(image))
        for i, seed, mixture, image in zip(indices, seeds, mixtures, pixels, strict=True)
    ]
