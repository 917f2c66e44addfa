"""ModelStatistics counts what happened, by whichever service it was asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protos.inference.v2 import open_inference_pb2 as pb
from protos.v1 import ganagerie_pb2
from tests.gate import Gate
from tests.server.calls import TIMEOUT_S, Refusal, metric, refusal, until
from tests.server.oip.calls import Oip, connect_oip, request, seeds
from tests.serving import Running, server_in_thread


@pytest.fixture
def running(gate: Gate, toy_zoo: Path) -> Iterator[Running]:
    limits = {"runners": 1, "max_batch": 4, "max_queue_images": 8}
    with server_in_thread(toy_zoo, **limits) as running:
        yield running
        gate.open()


@pytest.fixture
def fresh(running: Running) -> Iterator[Oip]:
    """A server that has made nothing yet."""
    with connect_oip(running.grpc) as oip:
        yield oip


def statistics(oip: Oip, name: str = "", version: str = "") -> list[pb.ModelStatistics]:
    asked = pb.ModelStatisticsRequest(name=name, version=version)
    return list(oip.stub.ModelStatistics(asked, timeout=TIMEOUT_S).model_stats)


def queued(running: Running, model: str) -> float:
    return metric(running.http, "ganagerie_queue_images", model=model)


def of(oip: Oip, name: str) -> pb.ModelStatistics:
    (found,) = statistics(oip, name)
    return found


def test_a_model_that_has_made_nothing_has_zeros(fresh: Oip) -> None:
    for found in statistics(fresh):
        assert (found.last_inference, found.inference_count, found.execution_count) == (0, 0, 0)
        assert not found.batch_stats
        times = found.inference_stats
        for duration in (times.success, times.fail, times.queue, times.compute_infer):
            assert (duration.count, duration.ns) == (0, 0)


def test_requests_images_and_batches_are_counted(fresh: Oip, running: Running) -> None:
    before_ms = time.time() * 1e3
    started_s = time.perf_counter()
    fresh.infer("letters", seeds(*range(6)))  # batches of 4 and 2
    fresh.stubs.generate("letters", count=4)
    assert len(list(fresh.stubs.stream("letters"))) == 1
    until(lambda: of(fresh, "letters").inference_stats.success.count == 3, "all three counted")
    took_ns = (time.perf_counter() - started_s) * 1e9
    found = of(fresh, "letters")
    assert (found.name, found.version) == ("letters", "1.0.0")
    assert (found.inference_count, found.execution_count) == (11, 4)
    assert before_ms - 1 <= found.last_inference <= time.time() * 1e3
    times = found.inference_stats
    assert times.fail.count == 0
    assert [d.count for d in (times.queue, times.compute_infer, times.compute_output)] == [4] * 3
    spent_ns = times.compute_infer.ns + times.compute_output.ns
    assert 0 < spent_ns < times.success.ns < took_ns
    by_size = {b.batch_size: b.compute_infer.count for b in found.batch_stats}
    assert by_size == {1: 1, 2: 1, 4: 2}
    assert sum(b.compute_infer.ns for b in found.batch_stats) == pytest.approx(
        times.compute_infer.ns, abs=len(by_size)
    )
    assert metric(running.http, "ganagerie_images_total", model="letters") == 11
    assert of(fresh, "colour").inference_count == 0


def test_what_fails_is_counted_and_what_is_invalid_is_not(
    fresh: Oip, running: Running, gate: Gate
) -> None:
    def failed() -> int:
        return of(fresh, "colour").inference_stats.fail.count

    assert fresh.refusal(request("colour", seeds(*range(9)))).code == "INVALID_ARGUMENT"
    assert failed() == 0
    gate.failure = "broken"
    assert fresh.refusal(request("colour", seeds(1))) == Refusal("INTERNAL", "internal error")
    assert failed() == 1
    gate.failure = ""
    gate.close()
    ask: Any = fresh.stub.ModelInfer.future
    calls = [ask(request("colour", seeds(*range(4))))]
    gate.wait()
    calls.append(ask(request("colour", seeds(*range(8)))))
    until(lambda: queued(running, "colour") == 8, "the queue is full")
    assert fresh.refusal(request("colour", seeds(1))).code == "RESOURCE_EXHAUSTED"
    assert failed() == 2
    assert refusal(lambda: fresh.stub.ModelInfer(request("plain", seeds(1)), timeout=0.2)) == (
        Refusal("DEADLINE_EXCEEDED", "Deadline Exceeded")
    )
    calls[1].cancel()
    until(lambda: failed() == 3, "the cancelled one counted")
    until(lambda: queued(running, "colour") == 0, "nothing waits")
    gate.open()
    assert len(calls[0].result().outputs) == 1
    (newest, _) = statistics(fresh, "plain")
    assert newest.inference_stats.fail.count == 1
    success = of(fresh, "colour").inference_stats.success
    assert success.count == 1


def test_a_name_a_version_or_all(oip: Oip) -> None:
    def named(*asked: str) -> list[str]:
        return [f"{s.name}@{s.version}" for s in statistics(oip, *asked)]

    assert named() == ["colour@1.0.0", "letters@1.0.0", "plain@1.10.0", "plain@1.9.0"]
    assert named("plain") == ["plain@1.10.0", "plain@1.9.0"]
    assert named("plain", "1.9.0") == named("plain@1.9.0") == ["plain@1.9.0"]
    assert refusal(lambda: statistics(oip, "nobody")).code == "NOT_FOUND"
    assert refusal(lambda: statistics(oip, "plain", "9.9.9")).code == "NOT_FOUND"
    refused = refusal(lambda: statistics(oip, "", "1.9.0"))
    assert refused[2:4] == ("version", "'1.9.0' without a name; give both")


def test_requests_of_all_services_share_the_queue(fresh: Oip, running: Running, gate: Gate) -> None:
    gate.close()
    first: Any = fresh.stub.ModelInfer.future(request("letters", seeds(0)))
    gate.wait()
    second: Any = fresh.stub.ModelInfer.future(request("letters", seeds(1, 5)))
    third: Any = fresh.stubs.images.Generate.future(
        ganagerie_pb2.GenerateRequest(model="letters", seed=2, count=2)
    )
    until(lambda: queued(running, "letters") == 4, "four wait")
    refused = fresh.refusal(request("letters", seeds(*range(5))))
    assert refused == Refusal(
        "RESOURCE_EXHAUSTED",
        "4 images wait for letters, 5 more would exceed 8; try again later",
        retry_s=refused.retry_s,
    )
    assert refused.retry_s is not None
    gate.open()
    assert len(second.result().outputs) == len(first.result().outputs) == 1
    assert len(third.result().images) == 2
    assert sorted(gate.seeds[1:5]) == [1, 2, 3, 5]
    assert {b.batch_size for b in of(fresh, "letters").batch_stats} == {1, 4}
