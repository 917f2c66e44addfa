"""A refused request is let go at once, not when Python's collector comes by."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.server.calls import TIMEOUT_S, connect, refusal
from tests.server.keyed_calls import KEY, bearer
from tests.serving import server_in_thread

REQUESTS, BYTES = 20, 1_000_000
METHODS = (
    "/ganagerie.v1.ImageGeneration/Generate",
    "/ganagerie.v1.ImageGeneration/StreamGenerate",
    "/ganagerie.v1.Zoo/GetModel",
    "/inference.GRPCInferenceService/ModelInfer",
)
BODIES = {
    # In each of these messages field 1 is a name.
    "a name that nobody has": (b"\n" + b"\xc0\x84\x3d" + b"x" * BYTES, "NOT_FOUND"),
    "no message": (b"\xff" * BYTES, "INVALID_ARGUMENT"),
}


@contextmanager
def uncollected() -> Iterator[None]:
    """Counts what Python allocates, while nothing is collected but by counting references."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.mark.parametrize("max_in_flight_per_key", [0, 2])
@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("method", METHODS)
def test_large_requests_that_are_refused_do_not_pile_up(
    toy_zoo: Path, keys: Path, method: str, kind: str, max_in_flight_per_key: int
) -> None:
    body, code = BODIES[kind]
    limits: Any = {"api_keys": keys, "max_in_flight_per_key": max_in_flight_per_key}
    with server_in_thread(toy_zoo, **limits) as running, connect(running.grpc) as stubs:
        channel: Any = stubs.channel
        call = (channel.unary_stream if "Stream" in method else channel.unary_unary)(method)

        def ask() -> None:
            answer = call(body, timeout=TIMEOUT_S, metadata=bearer(KEY))
            list(answer)

        with uncollected():
            assert refusal(ask).code == code
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(REQUESTS):
                assert refusal(ask).code == code
            after, _ = tracemalloc.get_traced_memory()
        assert after - before < 3 * BYTES
