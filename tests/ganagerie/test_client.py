"""The synchronous client against a real server."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import ganagerie
from ganagerie import Client, GeneratedImage
from tests.ganagerie.conftest import (
    Behaviour,
    Call,
    Scripted,
    answers,
    metric,
    wait_for_empty_queue,
)
from tests.serving import Running, server_in_thread
from tests.toys import write_toy
from zoo.card import Card
from zoo.errors import InvalidRequest, ModelNotFound


def test_package_offers_clients_and_images() -> None:
    assert ganagerie.Client is ganagerie.client.Client
    assert ganagerie.AsyncClient is ganagerie.client.AsyncClient
    assert ganagerie.GeneratedImage is ganagerie.image.GeneratedImage
    with pytest.raises(AttributeError, match=r"^module 'ganagerie' has no attribute 'Clint'$"):
        _ = ganagerie.Clint


def test_images_come_in_order_of_index(call: Call, toy_server: Running) -> None:
    images = call(toy_server.grpc, "plain", count=70, seed=5)
    assert [image.index for image in images] == list(range(70))
    assert [image.seed for image in images] == list(range(5, 75))
    assert {(i.width, i.height, i.channels, i.format) for i in images} == {(12, 12, 1, "png")}
    assert len({image.data for image in images}) == 70


def test_one_image_unless_asked(call: Call, toy_server: Running) -> None:
    assert len(call(toy_server.grpc, "plain")) == 1


def test_model_without_classes_has_no_class_name(client: Client) -> None:
    image = client.generate("plain")[0]
    assert (image.class_name, image.classes, image.truncation) == (None, {}, None)


def test_every_image_can_be_made_alone(call: Call, toy_server: Running) -> None:
    together = call(toy_server.grpc, "letters", count=5, seed=2**64 - 5, truncation=0.5)
    alone = [
        call(toy_server.grpc, "letters", seed=2**64 - 5 + i, truncation=0.5)[0] for i in range(5)
    ]
    assert [image.data for image in together] == [image.data for image in alone]
    assert [image.class_name for image in together] == [image.class_name for image in alone]


def test_unset_seed_is_drawn_and_told(client: Client) -> None:
    first, second = client.generate("plain")[0], client.generate("plain")[0]
    assert first.seed != second.seed
    assert client.generate("plain", seed=first.seed)[0].data == first.data


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        ("B", ["B", "B"]),
        (2, ["C", "C"]),
        ({"A": 1.0, "C": 3.0}, ["A:0.25,C:0.75", "A:0.25,C:0.75"]),
        ({0: 1, 1: 1}, ["A:0.5,B:0.5", "A:0.5,B:0.5"]),
        ({"A": 1, 2: 1}, ["A:0.5,C:0.5", "A:0.5,C:0.5"]),
        ({"A": 2.0, "B": 0.0}, ["A", "A"]),
        (["C", "A"], ["C", "A"]),
        ((1, {"A": 1, "B": 1}), ["B", "A:0.5,B:0.5"]),
        (["A"], ["A", "A"]),
    ],
)
def test_classes(call: Call, toy_server: Running, classes: Any, names: list[str]) -> None:
    images = call(toy_server.grpc, "letters", count=2, seed=1, classes=classes)
    assert [image.class_name for image in images] == names


def test_classes_change_the_image(client: Client) -> None:
    def data(classes: Any) -> bytes:
        return client.generate("letters", seed=1, classes=classes)[0].data

    assert len({data("A"), data("B"), data({"A": 1, "B": 1}), data({"A": 1, "B": 2})}) == 4
    assert data("B") == data(1) == data({"B": 7}) == data({1: 0.5})


def test_without_classes_each_seed_draws_its_own(client: Client) -> None:
    images = client.generate("letters", count=40, seed=1)
    assert {image.class_name for image in images} == {"A", "B", "C"}
    chosen = [image.class_name or "" for image in images]
    assert client.generate("letters", count=40, seed=1, classes=chosen) == images


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "raw"])
@pytest.mark.parametrize(("model", "mode", "channels"), [("letters", "L", 1), ("colour", "RGB", 3)])
def test_formats(client: Client, model: str, mode: str, channels: int, name: Any) -> None:
    image = client.generate(model, classes=0, seed=1, format=name)[0]
    assert image.format == name
    assert (image.image.size, image.image.mode) == ((12, 12), mode)
    assert name == "raw" or Image.open(io.BytesIO(image.data)).format == name.upper()
    raw = client.generate(model, classes=0, seed=1, format="raw")[0]
    assert len(raw.data) == 12 * 12 * channels
    if name != "jpeg":
        assert image.image.tobytes() == raw.data


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_quality(client: Client, name: Any) -> None:
    sizes = [
        len(client.generate("colour", seed=1, format=name, quality=quality)[0].data)
        for quality in (1, 100)
    ]
    assert sizes[0] < sizes[1]


def test_truncation(client: Client) -> None:
    def made(**options: Any) -> GeneratedImage:
        return client.generate("plain", seed=1, **options)[0]

    assert made(truncation=0.5).truncation == 0.5
    assert made(truncation=0).data == client.generate("plain", seed=2, truncation=0)[0].data
    threshold, scale = (made(truncation=0.5, truncation_mode=m) for m in ("threshold", "scale"))
    assert threshold.data == made(truncation=0.5).data
    assert len({threshold.data, scale.data, made().data}) == 3


def test_options_of_none_are_unset(client: Client) -> None:
    nothing: Any = dict.fromkeys(
        ["count", "classes", "truncation", "truncation_mode", "format", "quality", "priority"]
    )
    assert client.generate("plain", seed=1, **nothing) == client.generate("plain", seed=1)


def _close(images: Iterator[GeneratedImage]) -> None:
    images.close()  # type: ignore[attr-defined]  # a generator


def _break(images: Iterator[GeneratedImage]) -> None:
    for _ in images:
        break


def _crash(images: Iterator[GeneratedImage]) -> None:
    with suppress(RuntimeError):
        for _ in images:
            raise RuntimeError


@pytest.mark.parametrize("stop", [_close, _break, _crash])
def test_stopping_a_stream_early_drops_what_waits(
    slow_server: Running, stop: Callable[[Iterator[GeneratedImage]], None]
) -> None:
    before = metric(slow_server, "ganagerie_images_total")
    with Client(slow_server.grpc) as client:
        images = client.stream("slow", count=4096)
        next(images)
        assert metric(slow_server, "ganagerie_queue_images") > 0
        stop(images)
        del images
        wait_for_empty_queue(slow_server)
        assert metric(slow_server, "ganagerie_images_total") - before < 4096
        assert len(client.generate("slow")) == 1


def test_stream_has_no_limit_of_4_mib(tmp_path: Path) -> None:
    write_toy(tmp_path, "wide", side=256, channels=3)
    with server_in_thread(tmp_path) as server, Client(server.grpc) as client:
        images = list(client.stream("wide", count=24, format="raw"))
        assert sum(len(image.data) for image in images) > 4 * 1024 * 1024
        assert sorted(image.index for image in images) == list(range(24))
        with pytest.raises(InvalidRequest, match="ask for at most 21, or use StreamGenerate"):
            client.generate("wide", count=22)
        assert len(client.generate("wide", count=21, format="raw")) == 21


def test_one_image_may_exceed_4_mib(call: Call, scripted: Callable[[Behaviour], Scripted]) -> None:
    size = 5 * 1024 * 1024
    assert len(call(scripted(answers(size)).target, "any")[0].data) == size


def test_models_are_listed_newest_first(client: Client) -> None:
    assert client.models() == ["colour@1.0.0", "letters@1.0.0", "plain@1.10.0", "plain@1.9.0"]


@pytest.mark.parametrize(
    ("reference", "version"),
    [("plain", "1.10.0"), ("plain@1.10.0", "1.10.0"), ("plain@1.9.0", "1.9.0")],
)
def test_model(client: Client, reference: str, version: str) -> None:
    model = client.model(reference)
    card = Card.model_validate(model.card)
    assert (model.name, model.version, model.architecture) == ("plain", version, "toy")
    assert (card.name, card.version, card.artifact.sha256) == ("plain", version, model.digest)
    assert (model.class_names, model.recommended_truncation) == ((), None)


def test_model_lists_class_names(client: Client) -> None:
    assert client.model("letters").class_names == ("A", "B", "C")


def test_unknown_model_lists_what_there_is(client: Client) -> None:
    with pytest.raises(ModelNotFound) as raised:
        client.model("plian")
    assert str(raised.value) == (
        "no model 'plian'; did you mean 'plain'? "
        "There is: colour@1.0.0, letters@1.0.0, plain@1.10.0, plain@1.9.0"
    )


def test_leaving_the_context_closes_the_connection(toy_server: Running) -> None:
    with Client(toy_server.grpc) as client:
        client.models()
    with pytest.raises(ValueError, match="closed channel"):
        client.models()


def test_threads_share_a_client(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        apart = list(pool.map(lambda seed: client.generate("plain", seed=seed)[0].data, range(64)))
    assert apart == [image.data for image in client.generate("plain", count=64, seed=0)]
