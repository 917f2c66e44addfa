"""Whoever else calls, each caller gets its own images, byte for byte those of a lone call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.v1 import ganagerie_pb2 as pb
from tests.server.calls import TIMEOUT_S, Stubs, connect, one
from tests.server.oip.calls import Oip, array, classes, request, seeds, truncation
from tests.serving import Running, server_in_thread
from tests.toys import write_toy

CALLERS = 20
CLASSES = ("A", "B", "C")


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two models, wide enough for a matrix product to depend on how many images share it."""
    zoo = tmp_path_factory.mktemp("crowded-zoo")
    write_toy(zoo, "deep", classes=CLASSES, side=16, channels=3, hidden=256)
    write_toy(zoo, "other", side=20, hidden=192)
    with server_in_thread(zoo, runners=2, max_batch=16) as running:
        yield running


@pytest.fixture(scope="module")
def crowd(crowded: Running) -> Iterator[Stubs]:
    with connect(crowded.grpc) as stubs:
        yield stubs


@dataclass(frozen=True)
class Asked:
    """A request that each of the methods can express."""

    method: str
    model: str
    seed: int
    count: int
    truncation: float | None = None
    class_name: str | None = None

    def images(self, stubs: Stubs) -> list[bytes]:
        """Raw pixels, by index, of one call."""
        if self.method == "ModelInfer":
            rows = [seeds(*range(self.seed, self.seed + self.count))]
            if self.truncation is not None:
                rows.append(truncation(*[self.truncation] * self.count))
            if self.class_name:
                rows.append(classes(*[self.class_name] * self.count))
            answer = Oip(stubs).answer(request(self.model, *rows))
            return [image.tobytes() for image in array(answer)]
        fields: dict[str, Any] = {"format": pb.IMAGE_FORMAT_RAW, "truncation": self.truncation}
        if self.class_name:
            fields["conditions"] = one(class_name=self.class_name)
        ask = stubs.generate if self.method == "Generate" else stubs.stream
        images = list(ask(self.model, seed=self.seed, count=self.count, **fields))
        assert [image.seed - image.index for image in images] == [self.seed] * self.count
        return [image.data for image in sorted(images, key=lambda image: image.index)]

    def alone(self, stubs: Stubs) -> list[bytes]:
        """The same from calls of one image each, one after the other."""
        singles = (
            Asked("Generate", self.model, self.seed + i, 1, self.truncation, self.class_name)
            for i in range(self.count)
        )
        return [image for single in singles for image in single.images(stubs)]


def together(stubs: Stubs, mix: list[Asked]) -> list[list[bytes]]:
    """What each gets when all call at the same moment."""
    barrier = threading.Barrier(len(mix))

    def call(asked: Asked) -> list[bytes]:
        barrier.wait(TIMEOUT_S)
        return asked.images(stubs)

    with ThreadPoolExecutor(len(mix)) as pool:
        return list(pool.map(call, mix))


def test_twenty_callers_at_once_each_get_their_own_images(crowded: Running, crowd: Stubs) -> None:
    methods = ("Generate", "StreamGenerate", "ModelInfer")
    mix = [
        Asked(methods[i % 3], "deep" if i % 4 else "other", 1000 * i, 1 + 7 * i % 20)
        for i in range(CALLERS)
    ]
    expected = [asked.alone(crowd) for asked in mix]
    assert len({image for images in expected for image in images}) == sum(a.count for a in mix)
    for _ in range(3):
        assert together(crowd, mix) == expected
    channels = [connect(crowded.grpc) for _ in mix]  # and not by sharing a connection
    with ThreadPoolExecutor(CALLERS) as pool:

        def call(i: int) -> list[bytes]:
            with channels[i] as own:
                return mix[i].images(own)

        assert list(pool.map(call, range(CALLERS))) == expected


common: dict[str, Any] = {
    "method": st.sampled_from(["Generate", "StreamGenerate", "ModelInfer"]),
    # Now and then the same seeds, in requests of other truncation or class.
    "seed": st.integers(0, 3) | st.integers(0, 2**64 - 100),
    "count": st.integers(1, 3) | st.integers(1, 24),
    "truncation": st.none() | st.sampled_from([0.25, 0.5, 2.0]),  # exact as FP32 too
}
requests = st.builds(
    Asked, model=st.just("deep"), class_name=st.none() | st.sampled_from(CLASSES), **common
) | st.builds(Asked, model=st.just("other"), **common)


@given(mix=st.lists(requests, min_size=1, max_size=8))
@settings(max_examples=30, deadline=None, database=None, derandomize=True)
def test_any_mix_of_requests_has_the_bytes_of_lone_calls(crowd: Stubs, mix: list[Asked]) -> None:
    assert together(crowd, mix) == [asked.alone(crowd) for asked in mix]
