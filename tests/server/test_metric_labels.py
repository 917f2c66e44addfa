"""However many names clients make up, the number of series stays what it was."""

from __future__ import annotations

import random
import re
import uuid
from pathlib import Path
from typing import Any

import grpc
from prometheus_client.parser import text_string_to_metric_families as parse_text

from protos.inference.v2 import open_inference_pb2 as oip_pb
from protos.inference.v2 import open_inference_pb2_grpc as oip_grpc
from protos.v1 import ganagerie_pb2 as pb
from server.telemetry.metrics import MAX_KEYS, OTHER_KEYS, Metrics
from tests.server.calls import Stubs, connect, fetch
from tests.serving import Running, server_in_thread


def series(running: Running) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    found = parse_text(fetch(running.http, "/metrics")[2])
    return {(s.name, frozenset(s.labels.items())) for family in found for s in family.samples}


def attack(stubs: Stubs, rng: random.Random) -> bool:
    """One call of something that no server has heard of before; whether it failed."""
    word, number = uuid.UUID(int=rng.getrandbits(128)).hex, rng.getrandbits(31)
    metadata = (("authorization", f"Bearer {word}"), (f"x-{word}", word), ("user-agent", word))
    oip = oip_grpc.GRPCInferenceServiceStub(stubs.channel)

    def raw(path: str) -> object:
        return stubs.channel.unary_unary(path, bytes, bytes)(word.encode())

    unknown = rng.choice(["ganagerie.v1", "ganagerie.v1.ImageGeneration", "inference", "x"])
    calls: list[Any] = [
        lambda: stubs.generate(f"plain@{word}"),
        lambda: stubs.generate("letters", conditions=[pb.Condition(class_name=word)]),
        lambda: stubs.generate("plain", count=number, quality=number, format=number),
        lambda: stubs.zoo.GetModel(pb.GetModelRequest(model=word)),
        lambda: oip.ModelInfer(oip_pb.ModelInferRequest(model_name=word, model_version=word)),
        lambda: raw(f"/{unknown}/{word}"),
        lambda: raw(f"/ganagerie.v1.Zoo/ListModels{word}"),
        lambda: raw("/ganagerie.v1.Zoo/GetModel"),
        lambda: stubs.images.Generate(pb.GenerateRequest(model="x"), metadata=metadata),
        lambda: stubs.images.Generate(pb.GenerateRequest(model="plain"), timeout=0.001),
    ]
    try:
        rng.choice(calls)()
    except grpc.RpcError:
        return True
    return False


def test_no_client_can_make_new_series(toy_zoo: Path, keys: Path) -> None:
    rng = random.Random(1)  # noqa: S311  the same attack each time
    for settings in ({}, {"api_keys": keys}):
        with server_in_thread(toy_zoo, **settings) as running, connect(running.grpc) as stubs:
            assert sum(attack(stubs, rng) for _ in range(300)) > 200
            known = series(running)
            assert sum(attack(stubs, rng) for _ in range(300)) > 200
            new = series(running) - known
            # A method or a code may be met for the first time; both are of fixed sets.
            assert [name for name, labels in new if not {"method", "code"} & {*dict(labels)}] == []
            assert len(known | new) < 1000
            values = {value for _, labels in known | new for _, value in labels}
            assert not [value for value in values if re.search(r"[0-9a-f]{12}", value)]


def test_names_of_keys_beyond_the_limit_are_counted_as_one() -> None:
    metrics = Metrics()
    for i in range(MAX_KEYS + 2):
        metrics.key_images(f"name-{i}", 1)
        metrics.key_request(f"name-{i}", "OK")
    metrics.key_images("name-0", 1)

    def images(name: str) -> float | None:
        return metrics.registry.get_sample_value("ganagerie_key_images_total", {"key": name})

    assert (images("name-0"), images(f"name-{MAX_KEYS - 1}")) == (2, 1)
    assert (images(f"name-{MAX_KEYS}"), images(OTHER_KEYS)) == (None, 2)
    labels = {"key": OTHER_KEYS, "code": "OK"}
    assert metrics.registry.get_sample_value("ganagerie_key_requests_total", labels) == 2
