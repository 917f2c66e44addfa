"""Models that change or come while memory is bounded: nobody is lost, and the limits hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from protos.v1 import ganagerie_pb2 as pb
from tests.gate import Gate
from tests.server.admin_calls import FAILED, LOADED, ON_DEMAND, administered, damage, put
from tests.server.calls import TIMEOUT_S, refusal, until
from tests.server.traffic import image
from tests.serving import Running
from zoo.generator import Generator, load_generator

WATCH: dict[str, Any] = {"watch": True, "watch_interval_s": 0.02, "runners": 1}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load hardly waits for room, and is soon tried again."""
    monkeypatch.setattr("server.residency.ROOM_S", 0.1)
    monkeypatch.setattr("server.watching.RETRY_S", 0.1)


def size(zoo: Path, folder: str) -> int:
    return (zoo / folder / "generator.onnx").stat().st_size


def rescan(running: Running) -> None:
    """Looks at the zoo folder, as SIGHUP does."""
    assert running.app
    assert running.loop
    running.loop.call_soon_threadsafe(running.app.rescan)


@pytest.mark.usefixtures("hasty")
def test_a_model_that_comes_while_all_are_busy_is_loaded_later(gate: Gate, zoo: Path) -> None:
    put(zoo, "toy")
    with (
        structlog.testing.capture_logs() as events,
        administered(zoo, max_loaded_models=1, **WATCH) as (_, calls),
    ):
        gate.close()
        running = calls.images.Generate.future(pb.GenerateRequest(model="toy"))
        gate.wait()
        put(zoo, "other")
        until(lambda: "model not loaded" in str(events), "there is no room")
        assert calls.admin.residence() == {"toy@1.0.0": LOADED}
        gate.open()
        assert running.result(TIMEOUT_S).images
        until(lambda: "other@1.0.0" in calls.admin.residence(), "it is tried again")
        assert image(calls, "other")
        assert image(calls, "toy")


def test_what_found_no_room_waits_its_time_unless_somebody_asks(
    gate: Gate, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.residency.ROOM_S", 0.1)
    put(zoo, "toy")
    with (
        structlog.testing.capture_logs() as events,
        administered(zoo, max_loaded_models=1, **WATCH) as (running, calls),
    ):
        gate.close()
        busy = calls.images.Generate.future(pb.GenerateRequest(model="toy"))
        gate.wait()
        put(zoo, "other")
        until(lambda: "model not loaded" in str(events), "there is no room")
        gate.open()
        assert busy.result(TIMEOUT_S).images
        put(zoo, "third")
        until(lambda: "third@1.0.0" in calls.admin.residence(), "others are followed")
        assert "other@1.0.0" not in calls.admin.residence()
        rescan(running)
        until(lambda: "other@1.0.0" in calls.admin.residence(), "it is tried again")
    assert [event["event"] for event in events].count("model not loaded") == 1


@pytest.mark.usefixtures("hasty")
def test_a_model_whose_folder_holds_one_that_has_no_room_goes_on(gate: Gate, zoo: Path) -> None:
    put(zoo, "toy")
    put(zoo, "other")
    put(zoo.parent / "next", "toy", version="2.0.0", side=64)
    limit = size(zoo.parent / "next", "toy") + size(zoo, "other") - 1
    with (
        structlog.testing.capture_logs() as events,
        administered(zoo, max_model_bytes=limit, **WATCH) as (_, calls),
    ):
        first = image(calls)
        gate.close()
        running = calls.images.Generate.future(pb.GenerateRequest(model="other"))
        gate.wait()
        put(zoo, "toy", version="2.0.0", side=64)
        until(lambda: "model not loaded" in str(events), "there is no room")
        assert calls.admin.residence() == {"other@1.0.0": LOADED, "toy@1.0.0": LOADED}
        gate.open()
        assert running.result(TIMEOUT_S).images
        new = {"other@1.0.0": ON_DEMAND, "toy@2.0.0": LOADED}
        until(lambda: calls.admin.residence() == new, "it is tried again")
        assert image(calls) != first


def test_a_broken_upgrade_in_the_same_folder_leaves_the_old_version(zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    put(zoo, "other")
    with administered(zoo, max_loaded_models=1) as (_, calls):
        first = image(calls)
        put(zoo, "toy", version="2.0.0", seed=2)
        damage(zoo, "toy")
        assert refusal(lambda: calls.admin.load("toy")).code == "FAILED_PRECONDITION"
        both = {"other@1.0.0": ON_DEMAND, "toy@2.0.0": FAILED, "toy@1.0.0": LOADED}
        assert calls.admin.residence() == both
        assert image(calls) == first
        # It could not come back from that folder, so it makes room for nobody.
        assert refusal(lambda: image(calls, "other")).code == "RESOURCE_EXHAUSTED"
        assert image(calls) == first
        put(zoo, "toy", version="2.0.0", seed=2)
        assert calls.admin.load("toy").residence == LOADED
        assert list(calls.admin.residence().values()).count(LOADED) == 1
        assert image(calls) == image(calls, "toy@2.0.0") != first
        assert image(calls, "other")


def test_a_zoo_folder_that_cannot_be_read_for_a_moment_fails_no_model(zoo: Path) -> None:
    put(zoo, "a")
    put(zoo, "b")
    with administered(zoo, max_loaded_models=1) as (_, calls):
        zoo.rename(zoo.parent / "away")
        refused = refusal(lambda: image(calls, "b"))
        assert refused.code == "FAILED_PRECONDITION"
        assert refused.text == (
            "'b@1.0.0' could not be loaded: the zoo folder cannot be read: "
            "No such file or directory"
        )
        assert calls.admin.residence() == {"a@1.0.0": LOADED, "b@1.0.0": ON_DEMAND}
        (zoo.parent / "away").rename(zoo)
        assert image(calls, "b")


def test_a_look_that_is_asked_for_tries_failed_models_again(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Generator:
        raise OSError("the disk is away")

    put(zoo, "a")
    put(zoo, "b")
    with administered(zoo, max_loaded_models=1) as (running, calls):
        monkeypatch.setattr("server.loading.load_generator", fails)
        assert refusal(lambda: image(calls, "b")).code == "FAILED_PRECONDITION"
        monkeypatch.setattr("server.loading.load_generator", load_generator)
        assert calls.admin.residence()["b@1.0.0"] == FAILED
        rescan(running)
        until(lambda: calls.admin.residence()["b@1.0.0"] == LOADED, "tried again")
        assert image(calls, "b")


def test_a_model_that_has_moved_to_another_folder_takes_its_own_place(zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    put(zoo, "other")
    with administered(zoo, max_loaded_models=1) as (_, calls):
        first = image(calls)
        (zoo / "toy").rename(zoo / "toy@1.0.0")
        damage(zoo, "toy@1.0.0")
        assert refusal(lambda: calls.admin.load("toy")).code == "FAILED_PRECONDITION"
        assert calls.admin.residence() == {"other@1.0.0": ON_DEMAND, "toy@1.0.0": LOADED}
        assert image(calls) == first
