"""Generating without a server: the very bytes that a server sends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ganagerie import Client, local
from tests.toys import write_toy
from zoo.catalog import Catalog
from zoo.errors import ArtifactError, BackendError, InvalidRequest, ModelNotFound


@pytest.fixture(scope="module")
def catalog(toy_zoo: Path) -> Catalog:
    return Catalog.open(toy_zoo)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("plain", {}),
        ("plain@1.9.0", {"count": 3}),
        ("plain", {"count": 70, "truncation": 0.7}),
        ("plain", {"count": 3, "truncation": 0.7, "truncation_mode": "scale"}),
        ("plain", {"count": 3, "truncation": 0.0}),
        ("letters", {"count": 70}),
        ("letters", {"count": 40, "classes": "B", "truncation": 1.0}),
        ("letters", {"count": 3, "classes": ["C", 0, {"A": 1.0, "B": 3.0}]}),
        ("letters", {"count": 2, "classes": {0: 0.1, "C": 0.2}}),
        ("colour", {"count": 33}),
        ("colour", {"format": "jpeg"}),
        ("colour", {"format": "jpeg", "quality": 7}),
        ("colour", {"format": "webp"}),
        ("letters", {"format": "webp", "quality": 50}),
        ("colour", {"count": 2, "format": "raw"}),
    ],
)
def test_same_bytes_as_the_server(
    catalog: Catalog, client: Client, model: str, options: dict[str, Any]
) -> None:
    seeded: Any = {"seed": 12345, **options}
    assert list(local.generate(catalog, model, seeded)) == client.generate(model, **seeded)


def test_unset_seed_is_drawn_and_told(catalog: Catalog) -> None:
    first, second = (next(local.generate(catalog, "plain", {})) for _ in range(2))
    assert first.seed != second.seed
    assert next(local.generate(catalog, "plain", {"seed": first.seed})).data == first.data


@pytest.mark.parametrize("count", [0, local.MAX_COUNT + 1])
def test_count_outside_the_limits(catalog: Catalog, count: int) -> None:
    with pytest.raises(InvalidRequest) as raised:
        next(local.generate(catalog, "plain", {"count": count}))
    assert str(raised.value) == f"count: {count} is outside 1 to 65536"


def test_count_at_the_limits(catalog: Catalog) -> None:
    assert len(list(local.generate(catalog, "plain", {"count": 1}))) == 1
    assert next(local.generate(catalog, "plain", {"count": local.MAX_COUNT})).index == 0


@pytest.mark.parametrize("count", [1, 31, 32, 33, 64, 65])
def test_every_batch_size_gives_the_same_images(catalog: Catalog, count: int) -> None:
    images = list(local.generate(catalog, "letters", {"count": count, "seed": 3}))
    assert [(image.index, image.seed) for image in images] == [(i, 3 + i) for i in range(count)]
    alone = next(local.generate(catalog, "letters", {"seed": 3 + count - 1}))
    assert images[-1].data == alone.data


def test_last_seed_must_fit_in_64_bits(catalog: Catalog) -> None:
    last = 2**64 - 1
    images = local.generate(catalog, "plain", {"seed": last - 1, "count": 2})
    assert [image.seed for image in images] == [last - 1, last]
    with pytest.raises(InvalidRequest, match=r"^seed: 18446744073709551615 is outside 0 to "):
        next(local.generate(catalog, "plain", {"seed": last, "count": 2}))


def test_unknown_model(catalog: Catalog) -> None:
    with pytest.raises(ModelNotFound, match=r"^no model 'lettres'; did you mean 'letters'"):
        next(local.generate(catalog, "lettres", {}))


def test_unknown_option(catalog: Catalog) -> None:
    options: Any = {"colour": "red"}
    with pytest.raises(InvalidRequest, match=r"^colour: is not an option; allowed: count, "):
        next(local.generate(catalog, "plain", options))


def test_altered_artifact(tmp_path: Path) -> None:
    write_toy(tmp_path, "altered")
    with (tmp_path / "altered" / "generator.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ArtifactError, match="the file was altered or only partly copied"):
        next(local.generate(Catalog.open(tmp_path), "altered", {}))


def test_missing_runtime(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError) as raised:
        next(local.generate(catalog, "plain", {}))
    assert str(raised.value) == (
        "onnxruntime is not installed: pip install 'ganagerie[cpu]' for CPUs, "
        "or 'ganagerie[gpu]' for CUDA (one of them, not both)"
    )


def test_device_that_is_not_there(catalog: Catalog) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(
        BackendError, match=r"^device cuda: this onnxruntime has only .*--device cpu$"
    ):
        next(local.generate(catalog, "plain", {}, "cuda"))
