"""Images that are kept: the same bytes, made once, and no more of them than the limit allows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from protos.v1 import ganagerie_pb2 as pb
from server.image_cache import ImageCache
from tests.gate import Gate
from tests.server.busy import Fake, a_batcher, in_event_loop, request
from tests.server.calls import TIMEOUT_S, Stubs, connect, metric
from tests.server.keyed_calls import KEY, bearer
from tests.server.oip.calls import connect_oip, matrix, seeds
from tests.serving import server_in_thread
from tests.toys import Z_DIM, write_toy

OF_ONE = 4 + 600  # bytes: raw pixels of the fake, and an entry


def images(stubs: Stubs, **fields: Any) -> list[bytes]:
    return [image.data for image in stubs.generate("letters", **fields)]


def test_what_was_made_once_is_not_made_again(gate: Gate, toy_zoo: Path) -> None:
    with server_in_thread(toy_zoo) as plain, connect(plain.grpc) as stubs:
        expected = images(stubs, seed=10, count=6, format=pb.IMAGE_FORMAT_RAW)
        mixed = stubs.generate("letters", seed=10, count=6, format=pb.IMAGE_FORMAT_RAW)
    server = server_in_thread(toy_zoo, cache_bytes=10**6)
    with server as running, connect(running.grpc) as stubs, connect_oip(running.grpc) as oip:
        gate.seeds.clear()
        raw: dict[str, Any] = {"format": pb.IMAGE_FORMAT_RAW}
        assert images(stubs, seed=12, count=2, **raw) == expected[2:4]
        assert sorted(gate.seeds) == [12, 13]
        again = stubs.generate("letters", seed=10, count=6, **raw)
        assert again == mixed  # indices, classes and seeds as well as bytes
        assert sorted(gate.seeds) == [10, 11, 12, 13, 14, 15]
        streamed = sorted(stubs.stream("letters", seed=11, count=4, **raw), key=lambda i: i.index)
        assert [image.data for image in streamed] == expected[1:5]
        rows = oip.infer("letters", seeds(15, 10, 15))
        assert [row.tobytes() for row in rows] == [expected[5], expected[0], expected[5]]
        assert sorted(gate.seeds) == [10, 11, 12, 13, 14, 15]
        labels = {"model": "letters", "version": "1.0.0"}
        found = [
            metric(running.http, "ganagerie_cache_images_total", result=result, **labels)
            for result in ("hit", "miss")
        ]
        assert found == [2 + 4 + 3, 2 + 4]
        assert metric(running.http, "ganagerie_cache_bytes", **labels) == 6 * (12 * 12 + 600)


@pytest.mark.parametrize("method", ["Generate", "StreamGenerate"])
def test_images_that_are_found_are_billed_too(toy_zoo: Path, keys: Path, method: str) -> None:
    server = server_in_thread(toy_zoo, cache_bytes=10**6, api_keys=keys)
    with server as running, connect(running.grpc) as stubs:
        for first in (0, 2):  # of four, two are there then
            asked = pb.GenerateRequest(model="letters", seed=first, count=4)
            answer = getattr(stubs.images, method)(asked, timeout=TIMEOUT_S, metadata=bearer(KEY))
            assert len(list(answer) if method == "StreamGenerate" else answer.images) == 4
        assert metric(running.http, "ganagerie_cache_images_total", result="hit") == 2
        assert metric(running.http, "ganagerie_key_images_total", key="alice") == 8


@pytest.mark.parametrize(
    "other",
    [
        {"truncation": 0.5},
        {"truncation": 0.5, "truncation_mode": pb.TRUNCATION_MODE_SCALE},
        {"format": pb.IMAGE_FORMAT_PNG},
        {"format": pb.IMAGE_FORMAT_JPEG},
        {"format": pb.IMAGE_FORMAT_JPEG, "quality": 50},
        {"conditions": [pb.Condition(class_name="B")]},
        {"conditions": [pb.Condition(class_name="C")]},
        {"seed": 2},
    ],
)
def test_another_image_is_another_image(toy_zoo: Path, other: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"seed": 1, "format": pb.IMAGE_FORMAT_RAW}
    asked["conditions"] = [pb.Condition(class_name="A")]
    with server_in_thread(toy_zoo) as plain, connect(plain.grpc) as stubs:
        expected = [images(stubs, **asked), images(stubs, **asked | other)]
    server = server_in_thread(toy_zoo, cache_bytes=10**6)
    with server as running, connect(running.grpc) as stubs:
        for _ in range(2):
            assert [images(stubs, **asked), images(stubs, **asked | other)] == expected


def test_given_latents_are_not_taken_for_a_seed(toy_zoo: Path) -> None:
    server = server_in_thread(toy_zoo, cache_bytes=10**6)
    with server as running, connect_oip(running.grpc) as oip:
        of_seed = oip.infer("plain", seeds(0))
        of_z = [oip.infer("plain", matrix("z", [[value] * Z_DIM])) for value in (0.0, 1.0)]
        assert len({rows.tobytes() for rows in (of_seed, *of_z)}) == 3


@pytest.mark.parametrize(("limit", "kept"), [(3 * OF_ONE, 3), (3 * OF_ONE - 1, 2), (OF_ONE - 1, 0)])
@in_event_loop
async def test_who_was_asked_for_least_recently_leaves(
    tmp_path: Path, limit: int, kept: int
) -> None:
    fake = Fake(write_toy(tmp_path, "toy"))
    fake.permit()
    batcher, cache = a_batcher(fake), ImageCache(limit)

    async def ask(seed: int) -> None:
        async for made in cache.images(batcher, request(1, seed)):
            assert [image.seed for image in made] == [seed]

    for seed in (1, 2, 1, 3):  # 2 leaves first
        await ask(seed)
    assert cache.held_bytes == kept * OF_ONE
    hits = cache.hits
    for seed in {3: (3, 1, 2), 2: (3, 1), 0: ()}[kept]:
        await ask(seed)
    assert cache.hits - hits == kept
    assert cache.held_bytes <= limit
    await asyncio.to_thread(batcher.close)


@in_event_loop
async def test_who_leaves_early_leaves_nothing_waiting(tmp_path: Path) -> None:
    fake = Fake(write_toy(tmp_path, "toy"))
    batcher, cache = a_batcher(fake, max_batch=4), ImageCache(10**6)
    fake.permit(1)
    parts = cache.images(batcher, request(100))
    assert len(await anext(parts)) == 4
    await parts.aclose()
    assert (batcher.waiting, batcher.held_bytes) == (0, 0)
    assert cache.held_bytes == 4 * OF_ONE
    fake.permit()
    await asyncio.to_thread(batcher.close)
