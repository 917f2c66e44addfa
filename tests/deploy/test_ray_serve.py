"""Ray Serve for real: two replicas behind its gRPC proxy, and the ordinary client."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganagerie import Client, GeneratedImage
from ganagerie.local import generate
from tests.deploy.ray_serve import Application, application
from tests.serving import Running
from zoo.catalog import Catalog
from zoo.errors import InvalidRequest, ModelNotFound

pytest.importorskip("ray", reason="needs Ray, which is heavy: make ray-check")

COUNT = 48


@pytest.fixture(scope="module")
def app(toy_zoo: Path) -> Iterator[Application]:
    with application(toy_zoo, max_loaded_models=3) as running:  # of four
        yield running


@pytest.fixture
def client(app: Application) -> Iterator[Client]:
    with Client(app.target) as client:
        yield client


def by_index(images: Iterator[GeneratedImage]) -> list[GeneratedImage]:
    return sorted(images, key=lambda image: image.index)


def test_same_seed_same_bytes_as_the_ordinary_server(
    client: Client, toy_server: Running, toy_zoo: Path
) -> None:
    with Client(toy_server.grpc) as ordinary:
        for model in ("plain", "letters", "colour@1.0.0"):
            images = ordinary.generate(model, count=COUNT, seed=11, truncation=0.5)
            assert client.generate(model, count=COUNT, seed=11, truncation=0.5) == images
            streamed = client.stream(model, count=COUNT, seed=11, truncation=0.5)
            assert by_index(streamed) == images
        assert client.models() == ordinary.models()
        assert client.model("letters") == ordinary.model("letters")
    assert list(generate(Catalog.open(toy_zoo), "letters", {"seed": 3})) == client.generate(
        "letters", seed=3
    )


def test_images_without_a_seed_differ(client: Client) -> None:
    seeds = {image.seed for _ in range(3) for image in client.generate("plain")}
    seeds |= {image.seed for _ in range(3) for image in client.stream("plain")}
    assert len(seeds) == 6


def test_mistakes_are_answered_as_by_the_ordinary_server(
    client: Client, toy_server: Running
) -> None:
    with Client(toy_server.grpc) as ordinary:
        for call in (
            lambda c: c.generate("plain", count=4097),
            lambda c: c.generate("plain", count=4096),
            lambda c: c.generate("letters", classes="D"),
            lambda c: list(c.stream("letters", classes=["A", {"A": 1, "B": -1}], count=2)),
        ):
            raised = []
            for each in (client, ordinary):
                with pytest.raises(InvalidRequest) as caught:
                    call(each)
                raised.append((caught.value.field, caught.value.reason))
            assert raised[0] == raised[1]
    for call in (
        lambda c: c.generate("none"),
        lambda c: list(c.stream("none")),
        lambda c: c.model("none"),
    ):
        with pytest.raises(ModelNotFound, match=r"^no model 'none'\. There is: colour@1\.0\.0, "):
            call(client)


def test_models_stay_where_they_are_loaded(app: Application, client: Client) -> None:
    models = ["plain", "plain@1.9.0", "letters", "colour"]
    deadline_s = time.monotonic() + 120
    before = -1
    while (loads := app.log.read_text().count('"event": "model loaded"')) != before:
        assert time.monotonic() < deadline_s, f"{loads} loads"
        before = loads
        for _ in range(10):
            for model in models:
                client.generate(model)
        time.sleep(1)  # the log comes by way of another process
    assert loads > 0


def test_killing_replicas_under_load_loses_no_request(
    app: Application, toy_server: Running
) -> None:
    models = ["plain", "letters", "colour"]
    with Client(toy_server.grpc) as ordinary:
        expected = {model: ordinary.generate(model, count=COUNT, seed=7) for model in models}
    stop, done, failed = threading.Event(), [0], list[object]()

    def calls(model: str, streams: bool) -> None:
        with Client(app.target, timeout_s=120) as client:
            while not stop.is_set():
                try:
                    if streams:
                        images = by_index(client.stream(model, count=COUNT, seed=7))
                    else:
                        images = client.generate(model, count=COUNT, seed=7)
                    if images != expected[model]:
                        failed.append(images)
                except Exception as error:  # noqa: BLE001  every one is a lost request
                    failed.append(error)
                done[0] += 1

    callers = [
        threading.Thread(target=calls, args=[model, streams])
        for model in models
        for streams in (False, True)
    ]
    for caller in callers:
        caller.start()
    first, second = sorted(app.wait_for_replicas(2))
    try:
        for victim in (first, second):  # when the second ends, it has all that the first had
            before = done[0]
            os.kill(victim, signal.SIGKILL)
            app.wait_for_replicas(2, other_than={first, victim})
            while done[0] < before + 30 and not failed:
                assert app.process.poll() is None
                stop.wait(0.05)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert failed == []
    assert "a replica ended with a request" in app.log.read_text()
