"""The bundled zoo: intact, small enough, and the same letters today as yesterday."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.machine import resident_mib
from ganagerie import Client
from ganagerie.local import generate
from tests.conftest import REPOSITORY
from tests.serving import Running, server_process
from zoo.catalog import BUNDLED, Catalog
from zoo.contact_sheet import contact_sheet

MODELS = ("biggan-emnist", "dcgan-emnist")
GOLDEN = REPOSITORY / "tests" / "golden"
_MAX_BYTES = 16 * 1024 * 1024
_GOLDEN_TOLERANCE = 2  # grey levels: other processors round differently


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.open(BUNDLED)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with server_process() as running:
        yield running


def test_every_bundled_card_is_usable(catalog: Catalog) -> None:
    assert catalog.broken == {}
    assert [entry.card.name for entry in catalog.entries] == list(MODELS)


def test_every_model_is_small_enough_and_has_a_preview(catalog: Catalog) -> None:
    for entry in catalog.entries:
        assert sum(path.stat().st_size for path in entry.folder.iterdir()) <= _MAX_BYTES
        with Image.open(entry.folder / "preview.png") as preview:
            assert preview.width >= 8 * entry.card.image.width


@pytest.mark.parametrize("model", MODELS)
def test_a_model_was_really_trained_and_measured(catalog: Catalog, model: str) -> None:
    card = catalog.resolve(model).card
    assert card.provenance.images_seen is not None
    assert card.provenance.images_seen >= 15 * 90_000
    assert card.provenance.finished is not None
    assert card.parity is not None
    assert card.parity.max_abs_error <= 2


@pytest.mark.parametrize("model", MODELS)
def test_the_letters_are_those_of_the_golden_picture(catalog: Catalog, model: str) -> None:
    made = generate(catalog, model, {"count": 64, "seed": 0})
    sheet = np.asarray(contact_sheet([image.image for image in made]), np.int16)
    golden = np.asarray(Image.open(GOLDEN / f"{model}-seeds-0-to-63.png"), np.int16)
    assert sheet.shape == golden.shape
    assert np.abs(sheet - golden).max() <= _GOLDEN_TOLERANCE


@pytest.mark.parametrize("model", MODELS)
def test_a_seed_gives_the_same_bytes_alone_in_a_batch_by_server_and_in_process(
    catalog: Catalog, server: Running, tmp_path: Path, model: str
) -> None:
    in_process = [i.data for i in generate(catalog, model, {"count": 40, "seed": 100})]
    with Client(server.grpc) as client:
        batch = [image.data for image in client.generate(model, count=40, seed=100)]
        alone = [client.generate(model, seed=100 + i)[0].data for i in range(40)]
        streamed = {i.index: i.data for i in client.stream(model, count=40, seed=100)}
    command = [sys.executable, "-m", "ganagerie.cli", "generate", model, "-n", "40"]
    command += ["--seed", "100", "-o", f"{tmp_path}/"]
    subprocess.run(command, check=True, cwd=REPOSITORY)
    by_cli = [(tmp_path / f"{100 + i}.png").read_bytes() for i in range(40)]
    assert len({hashlib.sha256(data).digest() for data in alone}) == 40
    assert in_process == batch == alone == by_cli == [streamed[i] for i in range(40)]


def test_truncation_moves_an_image_but_keeps_its_identity(catalog: Catalog) -> None:
    def image(truncation: float | None) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        (made,) = generate(catalog, "dcgan-emnist", {"seed": 5, "truncation": truncation})
        return np.asarray(Image.open(io.BytesIO(made.data)), np.float64)

    nearby = np.abs(image(1.0) - image(1.01)).mean()
    far = np.abs(image(1.0) - image(0.2)).mean()
    assert 0 < nearby < 0.2 * far


def test_a_server_with_the_bundled_zoo_stays_under_300_mb(server: Running) -> None:
    assert server.process is not None
    with Client(server.grpc) as client:
        for model in MODELS:
            client.generate(model, count=256)
    _, peak_mib = resident_mib(server.process.pid)
    assert peak_mib * 1.048576 < 300
