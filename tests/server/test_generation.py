"""Images by class, truncation and seed, alone and in company."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ganagerie import local
from protos.v1 import ganagerie_pb2 as pb
from tests.server.calls import Stubs, connect, mixture, one
from tests.serving import Running, server_in_thread
from tests.toys import write_toy
from zoo.catalog import Catalog

SCALE, THRESHOLD = pb.TRUNCATION_MODE_SCALE, pb.TRUNCATION_MODE_THRESHOLD


def classes(image: pb.GeneratedImage) -> dict[str, float]:
    assert all(chosen.HasField("class_index") for chosen in image.classes)
    return {chosen.class_name: chosen.weight for chosen in image.classes}


def test_an_answer_holds_each_image_in_order_with_its_seed(stubs: Stubs) -> None:
    images = stubs.generate("plain", count=40, seed=7)
    assert [image.index for image in images] == list(range(40))
    assert [image.seed for image in images] == list(range(7, 47))
    assert len({image.data for image in images}) == 40


def test_a_stream_holds_each_image_once_as_the_answer_has_it(stubs: Stubs) -> None:
    fields: dict[str, Any] = {"count": 150, "seed": 3, "truncation": 0.5}
    streamed = sorted(stubs.stream("letters", **fields), key=lambda image: image.index)
    assert streamed == stubs.generate("letters", **fields)


def test_an_unset_count_is_one(stubs: Stubs) -> None:
    assert len(stubs.generate("plain")) == 1


def test_an_answer_says_who_made_it(stubs: Stubs) -> None:
    response = stubs.images.Generate(pb.GenerateRequest(model="plain"))
    assert response.model == stubs.zoo.GetModel(pb.GetModelRequest(model="plain@1.10.0")).summary


def test_an_older_version_is_served_by_its_full_name(stubs: Stubs) -> None:
    response = stubs.images.Generate(pb.GenerateRequest(model="plain@1.9.0"))
    assert response.model.version == "1.9.0"


def test_an_unset_seed_is_drawn_and_told(stubs: Stubs) -> None:
    images = stubs.generate("letters", count=3)
    first = images[0].seed
    assert [image.seed for image in images] == [first, first + 1, first + 2]
    assert stubs.generate("letters", count=3, seed=first) == images
    assert stubs.generate("letters")[0].seed != first


def test_the_largest_seed_is_a_seed_like_any_other(stubs: Stubs) -> None:
    (last,) = stubs.generate("plain", seed=2**64 - 1)
    assert last.seed == 2**64 - 1
    before = stubs.generate("plain", seed=2**64 - 2, count=2)
    assert before[1].data == last.data != before[0].data


def test_the_prior_is_drawn_from_the_seed(stubs: Stubs) -> None:
    images = stubs.generate("letters", count=300, seed=11)
    assert stubs.generate("letters", count=300, seed=11) == images
    drawn = [name for image in images for name, weight in classes(image).items() if weight == 1]
    assert len(drawn) == 300
    assert all(70 <= drawn.count(name) <= 130 for name in "ABC")  # 100 each, give or take 3.7 σ
    (image,) = stubs.generate("letters", seed=images[200].seed)
    assert (image.data, classes(image)) == (images[200].data, classes(images[200]))


def test_a_class_drawn_from_the_prior_is_as_if_asked_for(stubs: Stubs) -> None:
    for drawn in stubs.generate("letters", count=5, seed=20):
        index = drawn.classes[0].class_index
        (asked,) = stubs.generate("letters", seed=drawn.seed, conditions=one(class_index=index))
        assert asked.data == drawn.data


def test_a_class_by_name_is_the_class_by_index(stubs: Stubs) -> None:
    by_name = stubs.generate("letters", seed=1, conditions=one(class_name="C"))
    assert by_name == stubs.generate("letters", seed=1, conditions=one(class_index=2))
    assert by_name[0].classes == [pb.WeightedClass(class_name="C", class_index=2, weight=1)]


def test_one_condition_holds_for_all_images(stubs: Stubs) -> None:
    images = stubs.generate("letters", count=4, conditions=one(class_name="B"))
    assert [classes(image) for image in images] == [{"B": 1}] * 4


def test_as_many_conditions_as_images_are_one_each(stubs: Stubs) -> None:
    wanted = "CABBA"
    conditions = [pb.Condition(class_name=name) for name in wanted]
    images = stubs.generate("letters", count=5, seed=5, conditions=conditions)
    assert [classes(image) for image in images] == [{name: 1} for name in wanted]
    for image, condition in zip(images, conditions, strict=True):
        alone = stubs.generate("letters", seed=image.seed, conditions=[condition])
        assert alone[0].data == image.data


def test_weights_are_divided_by_their_sum(stubs: Stubs) -> None:
    (image,) = stubs.generate("letters", seed=1, conditions=mixture(("A", 2), (2, 6), ("B", 0)))
    assert classes(image) == {"A": 0.25, "C": 0.75}
    same = stubs.generate("letters", seed=1, conditions=mixture(("A", 0.25), ("C", 0.75)))
    assert same[0].data == image.data
    pure = [stubs.generate("letters", seed=1, conditions=one(class_name=c))[0].data for c in "AC"]
    assert image.data not in pure


def test_a_mixture_of_one_is_that_class(stubs: Stubs) -> None:
    mixed = stubs.generate("letters", seed=1, conditions=mixture(("B", 1e-30), ("A", 0)))
    assert mixed == stubs.generate("letters", seed=1, conditions=one(class_name="B"))


def test_a_model_without_classes_tells_none(stubs: Stubs) -> None:
    assert not stubs.generate("plain")[0].classes


def pictures(stubs: Stubs, **fields: Any) -> list[bytes]:
    return [image.data for image in stubs.generate("plain", seed=1, count=4, **fields)]


def test_truncation_is_told_as_asked(stubs: Stubs) -> None:
    unset, asked, scaled = (
        stubs.generate("plain", **fields)[0]
        for fields in ({}, {"truncation": 0.5}, {"truncation": 0.25, "truncation_mode": SCALE})
    )
    assert not unset.HasField("truncation")
    assert unset.truncation_mode == pb.TRUNCATION_MODE_UNSPECIFIED
    assert (asked.truncation, asked.truncation_mode) == (0.5, THRESHOLD)
    assert (scaled.truncation, scaled.truncation_mode) == (0.25, SCALE)


@pytest.mark.parametrize("mode", [SCALE, THRESHOLD])
def test_truncation_zero_gives_every_seed_the_same_image(stubs: Stubs, mode: Any) -> None:
    assert len(set(pictures(stubs, truncation=0, truncation_mode=mode))) == 1


def test_the_modes_mean_what_they_say(stubs: Stubs) -> None:
    assert pictures(stubs, truncation=1e30) == pictures(stubs)
    assert pictures(stubs, truncation=0.5) != pictures(stubs)
    scaled = pictures(stubs, truncation=1, truncation_mode=SCALE)
    assert scaled == pictures(stubs, truncation=2, truncation_mode=THRESHOLD)
    assert scaled != pictures(stubs, truncation=1)


@pytest.fixture(scope="module")
def deep_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model `deep`: wide enough for a matrix product to depend on how many images share it."""
    zoo = tmp_path_factory.mktemp("deep-zoo")
    write_toy(zoo, "deep", classes=("A", "B"), side=48, channels=3, hidden=256)
    return zoo


@pytest.fixture(scope="module")
def deep(deep_zoo: Path) -> Iterator[Running]:
    with server_in_thread(deep_zoo, runners=2, max_batch=16) as running:
        yield running


def test_an_image_is_the_same_bytes_alone_in_company_and_in_process(
    deep: Running, deep_zoo: Path
) -> None:
    with connect(deep.grpc) as stubs:
        alone = [stubs.generate("deep", seed=seed)[0].data for seed in range(100, 140)]
        together = [image.data for image in stubs.generate("deep", seed=100, count=40)]
        streamed = {image.seed: image.data for image in stubs.stream("deep", seed=100, count=40)}
    assert together == alone
    assert [streamed[seed] for seed in range(100, 140)] == alone
    in_process = local.generate(Catalog.open(deep_zoo), "deep", {"count": 40, "seed": 100})
    assert [image.data for image in in_process] == alone


def test_an_image_is_the_same_bytes_while_others_hammer(deep: Running) -> None:
    enough = threading.Event()

    def hammer(caller: int) -> int:
        calls = 0
        with connect(deep.grpc) as stubs:
            while not enough.is_set():
                images = stubs.generate("deep", count=5, truncation=0.1 * caller)
                calls += len(images) == 5
        return calls

    with connect(deep.grpc) as stubs, ThreadPoolExecutor(8) as others:
        quiet = [image.data for image in stubs.generate("deep", seed=100, count=20)]
        calls = [others.submit(hammer, caller) for caller in range(8)]
        try:
            for _ in range(5):
                loud = [stubs.generate("deep", seed=seed)[0].data for seed in range(100, 120)]
                assert loud == quiet
        finally:
            enough.set()
        assert all(call.result() for call in calls)
