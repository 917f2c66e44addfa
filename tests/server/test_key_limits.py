"""How much one API key may ask at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ganagerie import Client
from ganagerie.errors import ServerBusy
from protos.v1 import ganagerie_pb2 as pb
from tests.gate import Gate
from tests.server.calls import Refusal, connect, metric, refusal, until
from tests.server.keyed_calls import KEY, METHODS, OTHER, SECOND, bearer, call, code
from tests.serving import Running, server_in_thread


@pytest.fixture
def limited(gate: Gate, toy_zoo: Path, keys: Path) -> Iterator[Running]:
    """Two requests at once for a name; one image at a time."""
    limits: Any = {"api_keys": keys, "max_in_flight_per_key": 2, "runners": 1, "max_batch": 1}
    with server_in_thread(toy_zoo, **limits) as running:
        yield running
        gate.open()


@pytest.mark.parametrize("method", ["Generate", "StreamGenerate"])
def test_a_key_has_so_many_requests_at_once_and_no_more(
    gate: Gate, limited: Running, method: str
) -> None:
    busy = "2 requests of alice are running, as many as one API key may have; try again later"
    with connect(limited.grpc) as stubs:
        gate.close()
        running: list[Any] = [
            stubs.images.StreamGenerate(pb.GenerateRequest(model="plain"), metadata=bearer(key))
            for key in (KEY, SECOND)
        ]
        gate.wait()
        until(lambda: metric(limited.http, "ganagerie_queue_images") == 1, "both are there")
        refused = refusal(lambda: call(stubs, bearer(KEY), method))
        assert refused == Refusal("RESOURCE_EXHAUSTED", busy, retry_s=1.0)
        labels = {"method": method, "code": "RESOURCE_EXHAUSTED"}
        until(lambda: metric(limited.http, "ganagerie_requests_total", **labels) == 1, "counted")
        rejected = "ganagerie_requests_rejected_total"
        assert metric(limited.http, rejected, reason="key_busy") == 1
        assert metric(limited.http, "ganagerie_key_requests_total", key="alice") == 1
        with Client(limited.grpc, api_key=KEY) as client, pytest.raises(ServerBusy) as raised:
            client.models()
        assert (str(raised.value), raised.value.retry_after_s) == (busy, 1.0)
        assert call(stubs, bearer(OTHER)).models  # somebody else's
        running.pop().cancel()
        until(lambda: code(stubs, KEY) == "OK", "a cancelled request counts no more")
        gate.open()
        assert [len(list(left)) for left in running] == [1]
        until(lambda: code(stubs, KEY) == "OK", "all are free")


def test_who_asks_one_after_the_other_is_never_refused(toy_zoo: Path, keys: Path) -> None:
    limits: Any = {"api_keys": keys, "max_in_flight_per_key": 1}
    with server_in_thread(toy_zoo, **limits) as running, connect(running.grpc) as stubs:
        for method in METHODS * 25:
            call(stubs, bearer(KEY), method)


def test_readers_that_leave_in_the_middle_give_their_places_back(
    noise_zoo: Path, keys: Path
) -> None:
    limits: Any = {"api_keys": keys, "max_in_flight_per_key": 1}
    with server_in_thread(noise_zoo, **limits) as running, connect(running.grpc) as stubs:
        for _ in range(5):
            leaving: Any = stubs.images.StreamGenerate(
                pb.GenerateRequest(model="noise", count=500), metadata=bearer(KEY)
            )
            next(leaving)
            leaving.cancel()
            until(lambda: code(stubs, KEY) == "OK", "the place is free")
