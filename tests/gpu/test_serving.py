"""A server on a GPU: its images are the CPU's but for a rounding, whoever shares their batch."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from ganagerie.client import Client
from ganagerie.doctor.examine import MOST_APART
from tests.serving import Running, server_process
from zoo.catalog import BUNDLED, Catalog
from zoo.errors import GanagerieError
from zoo.generator import load_generator

MODELS = ("biggan-emnist", "dcgan-emnist")
Pixels = NDArray[np.int16]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with server_process(BUNDLED, "--device", "cuda") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[Client]:
    with Client(server.grpc) as client:
        yield client


def served(client: Client, model: str, count: int, seed: int) -> Pixels:
    classes = 0 if model == "biggan-emnist" else None
    made = client.generate(model, count=count, seed=seed, classes=classes)
    return np.stack([np.asarray(one.image) for one in made]).astype(np.int16)


def on_cpu(model: str, count: int, seed: int) -> Pixels:
    generator = load_generator(Catalog.open(BUNDLED).resolve(model), "cpu")
    mixtures = [((0, 1.0),)] * count if generator.card.classes else None
    images = generator.generate(range(seed, seed + count), [None] * count, mixtures)
    return images[..., 0].astype(np.int16)


@pytest.mark.parametrize("model", MODELS)
def test_images_are_those_of_the_cpu(client: Client, model: str) -> None:
    made = served(client, model, 128, 1)
    assert np.abs(made - on_cpu(model, 128, 1)).max() <= MOST_APART
    assert len(np.unique(made)) > 100


@pytest.mark.parametrize("model", MODELS)
def test_company_changes_a_pixel_by_a_rounding_at_most(client: Client, model: str) -> None:
    together = served(client, model, 37, 5)
    alone = np.concatenate([served(client, model, 1, 5 + i) for i in range(37)])
    assert np.abs(together - alone).max() <= 1
    assert np.array_equal(together, served(client, model, 37, 5))


def test_parallel_callers_get_their_own_images(client: Client) -> None:
    expected = on_cpu("biggan-emnist", 20, 100)
    with ThreadPoolExecutor(20) as pool:
        for _ in range(10):
            found = pool.map(lambda i: served(client, "biggan-emnist", 1, 100 + i), range(20))
            assert np.abs(np.concatenate(list(found)) - expected).max() <= MOST_APART


def test_a_stream_of_thousands_has_every_image_once(client: Client) -> None:
    indices = [one.index for one in client.stream("dcgan-emnist", count=4096, seed=3)]
    assert sorted(indices) == list(range(4096))


def test_what_is_given_up_frees_the_device(client: Client) -> None:
    for timeout_s in itertools.repeat(0.002, 50):
        with contextlib.suppress(GanagerieError):
            client.generate("biggan-emnist", count=256, timeout_s=timeout_s)
    assert len(served(client, "biggan-emnist", 1, 0)) == 1
