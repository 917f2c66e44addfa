"""A batch: from images of several requests, through the generator, to their files."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.requests import FinishedImage, Plan
from server.work_queue import Job
from zoo.generator import Generator, Mixture
from zoo.latents import Truncation, latents


@dataclass(frozen=True)
class BatchTimes:
    """What one batch cost.

    Attributes:
        images: how many.
        taken_s: when a runner took them, by `time.perf_counter`.
        queue_s: how long its oldest image had waited.
        compute_s: latents and network.
        encode_s: pixels to bytes.
    """

    images: int
    taken_s: float
    queue_s: float
    compute_s: float
    encode_s: float


def compute(
    generator: Generator, batch: list[tuple[Job[Any], range]], lane: int
) -> tuple[list[tuple[Job[Any], list[FinishedImage]]], BatchTimes]:
    """Images of a batch by request, less those of requests that were cancelled meanwhile."""
    taken_s = time.perf_counter()
    seeds: list[int] = []
    truncations: list[Truncation | None] = []
    mixtures: list[Mixture] = []
    given: list[tuple[int, NDArray[np.float32]]] = []  # latents of requests that bring them
    for job, indices in batch:
        plan, part = job.plan, slice(indices.start, indices.stop)
        if plan.z is not None:
            given.append((len(seeds), plan.z[part]))
        seeds += plan.seeds[part]
        alike = len(plan.truncations) == 1
        truncations += plan.truncations * len(indices) if alike else plan.truncations[part]
        mixtures += filter(None, map(plan.mixture, indices))
    if given:
        z = latents(seeds, truncations, generator.card.latent.dim)
        for start, rows in given:
            z[start : start + len(rows)] = rows
        pixels = generator.generate_from(z, truncations, mixtures or None, lane)
    else:
        pixels = generator.generate(seeds, truncations, mixtures or None, lane)
    computed_s = time.perf_counter()
    encoded = []
    made = iter(pixels)
    for job, indices in batch:
        images = list(islice(made, len(indices)))
        if not job.cancelled:
            encoded.append((job, _encode(job.plan, indices, images)))
    times = BatchTimes(
        images=len(seeds),
        taken_s=taken_s,
        queue_s=taken_s - min(job.submitted_s for job, _ in batch),
        compute_s=computed_s - taken_s,
        encode_s=time.perf_counter() - computed_s,
    )
    return encoded, times


def _encode(plan: Plan, indices: range, images: Iterable[NDArray[np.uint8]]) -> list[FinishedImage]:
    encode, mixture, seeds = plan.encoding.encode, plan.mixture, plan.seeds
    return [
        FinishedImage(i, seeds[i], mixture(i), encode(image))
        for i, image in zip(indices, images, strict=True)
    ]
