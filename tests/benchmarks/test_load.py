"""The benchmarks of serving, on a real server: all images count, and no failure is passed over."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.latency import huge_caller
from benchmarks.serving import Server, load, measure
from benchmarks.soak.watching import fetch
from tests.serving import Running, server_process

MODEL = "dcgan-emnist"
QUEUE = 512  # images


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with server_process(None, "--max-queue-images", str(QUEUE)) as running:
        yield running


@pytest.fixture
def server(running: Running) -> Server:
    assert running.process is not None
    return Server(running.grpc, running.process.pid)


def computed(running: Running) -> int:
    families = text_string_to_metric_families(fetch(running.http, "/metrics")[1])
    samples = (one for family in families for one in family.samples)
    return sum(int(one.value) for one in samples if one.name == "ganagerie_images_total")


@pytest.mark.parametrize("generator", ["load", "h2load"])
def test_cpu_time_is_shared_by_all_images_that_the_server_computed(
    running: Running, server: Server, generator: str
) -> None:
    if generator == "h2load" and shutil.which("h2load") is None:
        pytest.skip("h2load is not installed (nghttp2-client)")
    before = computed(running)
    found = measure(server, MODEL, 16, 16, 0.5, generator)
    assert found["images_per_s"] > 0
    assert found["p50_ms"] <= found["p99_ms"]
    assert found["received"] == computed(running) - before
    assert found["cpu_us"] > 0


def test_calls_that_fail_in_an_open_loop_end_it(server: Server) -> None:
    too_many = ["--rate", 200, "--images", QUEUE // 2, "--seconds", 0.5]
    with pytest.raises(AssertionError, match=r"^\d+ calls failed$"):
        load(server, MODEL, *too_many)


def test_a_huge_caller_that_ends_is_noticed(server: Server) -> None:
    with (
        pytest.raises(AssertionError, match=r"^the huge caller ended with 1$"),
        huge_caller(server, "no-such-model") as process,
    ):
        process.wait(60)
