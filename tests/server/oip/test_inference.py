"""ModelInfer: images from rows, the same as those of ganagerie.v1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from protos.inference.v2 import open_inference_pb2 as inference
from protos.v1 import ganagerie_pb2 as pb
from tests.server.calls import Stubs, mixture, one, pixels
from tests.server.oip.calls import (
    Oip,
    Tensor,
    array,
    classes,
    connect_oip,
    files,
    matrix,
    request,
    seeds,
    truncation,
)
from tests.serving import server_in_thread
from tests.toys import Z_DIM
from zoo.catalog import BUNDLED
from zoo.latents import Truncation, latents

MAX = 2**64 - 1
RAW = pb.IMAGE_FORMAT_RAW
HOW = pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])


def ordinary(stubs: Stubs, model: str, **fields: Any) -> NDArray[np.uint8]:
    """What ganagerie.v1 makes of it, uint8 [N, H, W, C]."""
    images = stubs.generate(model, format=RAW, **fields)
    shape = images[0].height, images[0].width, images[0].channels
    return np.stack([np.frombuffer(i.data, np.uint8).reshape(shape) for i in images])


@HOW
@pytest.mark.parametrize("wanted", [(0, 2, 1, 1), ("A", "C", "B", "B")])
def test_classes_by_index_and_by_name(oip: Oip, stubs: Stubs, wanted: Any, raw: bool) -> None:
    got = oip.infer("letters", classes(*wanted), seeds(5, 6, 7, 8), raw=raw)
    conditions = [pb.Condition(class_name=name) for name in "ACBB"]
    expected = ordinary(stubs, "letters", count=4, seed=5, conditions=conditions)
    assert np.array_equal(got, expected)


@HOW
def test_each_row_has_its_own_seed(oip: Oip, stubs: Stubs, raw: bool) -> None:
    wanted = [MAX, 0, 7, 7, 2**63]
    got = oip.infer("plain", seeds(*wanted), raw=raw)
    expected = [ordinary(stubs, "plain", seed=seed)[0] for seed in wanted]
    assert np.array_equal(got, np.stack(expected))


@HOW
def test_each_row_has_its_own_truncation(oip: Oip, stubs: Stubs, raw: bool) -> None:
    got = oip.infer("plain", seeds(3, 3, 3), truncation(0, 0.5, 2), raw=raw)
    expected = [ordinary(stubs, "plain", seed=3, truncation=t)[0] for t in (0, 0.5, 2)]
    assert np.array_equal(got, np.stack(expected))


def test_the_truncation_mode_is_a_parameter(oip: Oip, stubs: Stubs) -> None:
    for name, mode in (
        ("threshold", pb.TRUNCATION_MODE_THRESHOLD),
        ("scale", pb.TRUNCATION_MODE_SCALE),
    ):
        got = oip.infer("plain", seeds(3), truncation(0.25), parameters={"truncation_mode": name})
        expected = ordinary(stubs, "plain", seed=3, truncation=0.25, truncation_mode=mode)
        assert np.array_equal(got, expected)


@HOW
def test_class_weights_are_mixtures(oip: Oip, stubs: Stubs, raw: bool) -> None:
    weights = [[2, 0, 6], [0, 1e-30, 0], [1, 1, 1]]
    got = oip.infer("letters", matrix("class_weights", weights), seeds(1, 2, 3), raw=raw)
    conditions = [
        *mixture(("A", 2), ("C", 6)),
        *one(class_name="B"),
        *mixture(("A", 1), ("B", 1), ("C", 1)),
    ]
    expected = ordinary(stubs, "letters", count=3, seed=1, conditions=conditions)
    assert np.array_equal(got, expected)


@HOW
def test_given_latents_are_used_as_they_are(oip: Oip, stubs: Stubs, raw: bool) -> None:
    z = latents([40, 41, 42], [None] * 3, Z_DIM)
    assert np.array_equal(
        oip.infer("plain", matrix("z", z), raw=raw), ordinary(stubs, "plain", seed=40, count=3)
    )
    got = oip.infer("letters", classes("B", "A", "C"), matrix("z", z), raw=raw)
    conditions = [pb.Condition(class_name=name) for name in "BAC"]
    expected = ordinary(stubs, "letters", seed=40, count=3, conditions=conditions)
    assert np.array_equal(got, expected)
    weights = matrix("class_weights", np.eye(3)[[1, 0, 2]])
    assert np.array_equal(oip.infer("letters", weights, matrix("z", z), raw=raw), expected)


def test_a_truncation_beside_latents_leaves_them_as_they_are(oip: Oip) -> None:
    z = matrix("z", [[3.0] * Z_DIM])
    assert np.array_equal(oip.infer("plain", z), oip.infer("plain", z, truncation(0.5)))


def test_a_truncation_beside_latents_chooses_the_statistics() -> None:
    half = Truncation(0.5)
    z = matrix("z", latents([7, 8], [half] * 2, 60))
    with server_in_thread(BUNDLED) as running, connect_oip(running.grpc) as oip:
        got = oip.infer("biggan-emnist", classes("A", "B"), z, truncation(0.5, 0.5))
        unsaid = oip.infer("biggan-emnist", classes("A", "B"), z)
        conditions = [pb.Condition(class_name=name) for name in "AB"]
        fields = {"count": 2, "seed": 7, "truncation": 0.5, "conditions": conditions}
        expected = ordinary(oip.stubs, "biggan-emnist", **fields)
    assert np.array_equal(got, expected)
    assert not np.array_equal(got, unsaid)


def test_classes_are_drawn_by_the_seeds_if_none_are_given(oip: Oip, stubs: Stubs) -> None:
    got = oip.infer("letters", seeds(*range(20)))
    assert np.array_equal(got, ordinary(stubs, "letters", seed=0, count=20))


def test_a_seed_that_was_drawn_is_told(oip: Oip, stubs: Stubs) -> None:
    answer = oip.answer(request("letters", classes("A", "B", "C")))
    assert [*answer.parameters] == ["seed"]
    seed = answer.parameters["seed"].uint64_param
    conditions = [pb.Condition(class_name=name) for name in "ABC"]
    expected = ordinary(stubs, "letters", count=3, seed=seed, conditions=conditions)
    assert np.array_equal(array(answer), expected)
    assert oip.answer(request("letters", classes("A"))).parameters["seed"].uint64_param != seed
    for given in (seeds(1, 2), matrix("z", [[0.0] * Z_DIM])):
        assert not oip.answer(request("plain", given)).parameters


def test_no_input_makes_one_image(oip: Oip, stubs: Stubs) -> None:
    answer = oip.answer(request("colour"))
    assert list(answer.outputs[0].shape) == [1, 12, 12, 3]
    seed = answer.parameters["seed"].uint64_param
    assert np.array_equal(array(answer), ordinary(stubs, "colour", seed=seed))


@HOW
def test_a_row_of_one_element_may_be_a_column(oip: Oip, raw: bool) -> None:
    flat = [classes("A", "B"), seeds(1, 2), truncation(0.5, 1)]
    columns = [Tensor(t.name, t.datatype, [2, 1], t.elements) for t in flat]
    assert np.array_equal(
        oip.infer("letters", *columns, raw=raw), oip.infer("letters", *flat, raw=raw)
    )


def test_the_order_of_the_inputs_does_not_matter(oip: Oip) -> None:
    tensors = [classes("A", "B"), seeds(1, 2), truncation(0.5, 1)]
    for raw in (False, True):
        there, back = (oip.infer("letters", *t, raw=raw) for t in (tensors, tensors[::-1]))
        assert np.array_equal(there, back)


FORMATS = {"png": pb.IMAGE_FORMAT_PNG, "jpeg": pb.IMAGE_FORMAT_JPEG, "webp": pb.IMAGE_FORMAT_WEBP}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("where", ["parameters", "output"])
def test_files_are_bytes(oip: Oip, stubs: Stubs, name: str, where: str) -> None:
    options: dict[str, Any] = {where: {"format": name}}
    answer = oip.answer(request("colour", seeds(4, 5, 6), **options))
    images = stubs.generate("colour", seed=4, count=3, format=FORMATS[name])
    assert files(answer) == [image.data for image in images]
    assert answer.outputs[0].parameters["format"].string_param == name


def test_a_png_holds_the_raw_pixels(oip: Oip) -> None:
    bare = oip.infer("colour", seeds(4, 5), parameters={"format": "raw"})
    coded = files(oip.answer(request("colour", seeds(4, 5), output={"format": "png"})))
    assert np.array_equal(bare, np.stack([pixels(data) for data in coded]))


@pytest.mark.parametrize("quality", [1, 100, inference.InferParameter(uint64_param=30)])
def test_quality_is_a_parameter(oip: Oip, stubs: Stubs, quality: Any) -> None:
    asked = {"format": "jpeg", "quality": quality}
    whole = files(oip.answer(request("colour", seeds(4), parameters=asked)))
    value = quality if isinstance(quality, int) else 30
    images = stubs.generate("colour", seed=4, format=pb.IMAGE_FORMAT_JPEG, quality=value)
    assert whole == [images[0].data]
    split: dict[str, Any] = {"parameters": {"format": "jpeg"}, "output": {"quality": quality}}
    assert files(oip.answer(request("colour", seeds(4), **split))) == whole


@pytest.mark.parametrize("identity", ["", "a", "x" * 100_000, "\N{SNOWMAN}\n"])
def test_the_answer_names_the_model_and_repeats_the_id(oip: Oip, identity: str) -> None:
    for name, version, answered in (
        ("plain", "", "1.10.0"),
        ("plain", "1.9.0", "1.9.0"),
        ("plain@1.9.0", "", "1.9.0"),
    ):
        answer = oip.answer(request(name, seeds(1), model_version=version, id=identity))
        assert (answer.model_name, answer.model_version) == ("plain", answered)
        assert answer.id == identity
