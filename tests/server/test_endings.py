"""However a call ends, wherever it stands then, the server holds on to nothing of it.

Each way of making images, ended in each way: finished, cancelled, past its deadline, failed, at the
end of the server. `LiveState` is what is counted; that a key has its place back shows at the next
call, because a key may have one request running.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.calls import TIMEOUT_S, Refusal, until
from tests.server.held import (
    MAX_BATCH,
    METHODS,
    STAGES,
    HeldServer,
    LiveState,
    held_server,
    live_plans,
)

COUNT = 3 * MAX_BATCH
DEADLINE_S = 1.5
SEEDS = range(1000, 1000 + COUNT)


@pytest.fixture
def server(toy_zoo: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldServer]:
    with held_server(toy_zoo, keys, monkeypatch) as server:
        yield server


def leaves_nothing(server: HeldServer, before: LiveState) -> None:
    def freed() -> bool:
        # A runner may keep its last request until the next one: what stays after others is a leak.
        return all(now <= then for now, then in zip(server.settle(), before, strict=True))

    until(freed, f"as before the call: {before}")


def taken_at(stage: str) -> list[int]:
    """The seeds of which images have been computed when a call ended early at `stage`."""
    return [] if stage == "queued" else list(SEEDS[:MAX_BATCH])


@pytest.mark.parametrize("method", METHODS)
def test_finished(server: HeldServer, method: str) -> None:
    before = server.settle()
    assert len(server.call(method, count=COUNT).images()) == COUNT
    leaves_nothing(server, before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stage", STAGES)
def test_cancelled(server: HeldServer, method: str, stage: str) -> None:
    before = server.settle()
    with server.held(method, stage, count=COUNT, seed=SEEDS[0]) as call:
        call.cancel()
        until(lambda: server.waiting() == 0, "what waited is dropped at once")
        until(lambda: server.code_count(method, "CANCELLED") == 1, "counted")
    assert len(server.call("Generate").images()) == 1
    assert server.computed(SEEDS) == taken_at(stage)
    leaves_nothing(server, before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stage", STAGES)
def test_past_its_deadline(server: HeldServer, method: str, stage: str) -> None:
    before = server.settle()
    expiring: dict[str, Any] = {"count": COUNT, "seed": SEEDS[0], "timeout_s": DEADLINE_S}
    with server.held(method, stage, **expiring) as call:
        # Answered while the runner still stands, not when it gets there.
        assert call.refusal() == Refusal("DEADLINE_EXCEEDED", "Deadline Exceeded")
        until(lambda: server.waiting() == 0, "what waited is dropped at once")
    assert len(server.call("Generate").images()) == 1
    assert server.computed(SEEDS) == taken_at(stage)
    leaves_nothing(server, before)


@pytest.mark.parametrize("method", METHODS)
def test_failed(server: HeldServer, method: str) -> None:
    def fail() -> None:
        server.computing.failure = "broken"
        failed = server.call(method, count=COUNT).refusal()
        server.computing.failure = ""
        assert failed == Refusal("INTERNAL", "internal error")

    fail()
    before = server.settle()  # gRPC keeps the last call that it aborted, until the next one
    fail()
    until(lambda: server.code_count(method, "INTERNAL") == 2, "both are counted")
    leaves_nothing(server, before)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("method", METHODS)
def test_finished_by_a_server_that_ends(server: HeldServer, method: str, stage: str) -> None:
    expected = server.call(method, count=COUNT, seed=SEEDS[0]).images()
    before = live_plans()
    with server.held(method, stage, count=COUNT, seed=SEEDS[0]) as call:
        ended = server.stop()
        assert not ended.done()
    assert call.images() == expected
    ended.result(TIMEOUT_S)
    ended_without_a_trace(before)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("method", METHODS)
def test_given_up_by_a_server_that_ends(
    toy_zoo: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, method: str, stage: str
) -> None:
    with held_server(toy_zoo, keys, monkeypatch, grace_s=0) as server:
        before = live_plans()
        with server.held(method, stage, count=COUNT, seed=SEEDS[0], blocker_ends=False) as call:
            ended = server.stop()
            assert call.refusal().code in {"UNAVAILABLE", "CANCELLED"}
            # The caller may hear of it before the server has dropped what waits; /metrics is gone.
            app = server.running.app
            assert app is not None
            residents = app.residency.loaded()
            until(lambda: not any(r.batcher.waiting for r in residents), "dropped")
        ended.result(TIMEOUT_S)
    ended_without_a_trace(before)


def ended_without_a_trace(plans: int) -> None:
    until(lambda: live_plans() <= plans, "no plan is left")
    until(lambda: "stopping" not in {t.name for t in threading.enumerate()}, "its end has ended")
