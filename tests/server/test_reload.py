"""Models that are loaded, reloaded and unloaded while others ask for them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog.testing

from protos.v1 import admin_pb2
from protos.v1 import ganagerie_pb2 as pb
from tests.gate import Gate
from tests.server.admin_calls import FAILED, LOADED, UNLOADED, administered, damage, put
from tests.server.calls import TIMEOUT_S, metric, refusal, until
from tests.server.loads import Loads
from tests.server.traffic import Traffic, changes, image
from tests.toys import write_toy

ALTERED = "the file was altered or only partly copied; fetch it again"


def test_a_reload_under_traffic_changes_the_images_once_and_fails_no_call(zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    with administered(zoo) as (running, calls), ExitStack() as stack:
        first = image(calls)
        traffic = Traffic(running.grpc, stack)
        expected = [first]
        for seed in (2, 3, 4):
            traffic.more()
            put(zoo, "toy", seed=seed)
            assert calls.admin.load("toy").residence == LOADED
            expected.append(image(calls))
        traffic.more()
        traffic.stop()
        assert len(set(expected)) == 4
        assert [changes(seen) for seen in traffic.seen] == [expected] * len(traffic.seen)


def test_failed_reloads_under_traffic_leave_the_old_model(zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    with administered(zoo) as (running, calls), ExitStack() as stack:
        first = image(calls)
        traffic = Traffic(running.grpc, stack)
        damage(zoo, "toy")
        for _ in range(3):
            traffic.more()
            assert refusal(lambda: calls.admin.load("toy")).code == "FAILED_PRECONDITION"
        traffic.more()
        traffic.stop()
        assert [changes(seen) for seen in traffic.seen] == [[first]] * len(traffic.seen)


def test_a_failed_reload_says_why_to_the_caller_the_log_and_the_hook(zoo: Path) -> None:
    told: list[tuple[str, bool]] = []
    put(zoo, "toy", seed=1)
    with structlog.testing.capture_logs() as events, administered(zoo) as (running, calls):
        assert running.app
        running.app.residency.on_load = lambda model, seconds, ok: told.append((model, ok))
        first, digest = image(calls), calls.admin.states()["toy@1.0.0"].digest
        put(zoo, "toy", seed=2)
        damage(zoo, "toy")
        refused = refusal(lambda: calls.admin.load("toy"))
        state = calls.admin.states()["toy@1.0.0"]
        assert (state.residence, state.digest) == (LOADED, digest)
        assert image(calls) == first
        put(zoo, "toy", seed=2)
        assert calls.admin.load("toy").reason == ""
        assert image(calls) != first
    assert refused.code == "FAILED_PRECONDITION"
    reason = refused.text.removeprefix("toy@1.0.0 could not be loaded: ")
    assert reason == f"{state.reason}; the one loaded before goes on"
    assert state.reason.startswith("generator.onnx: sha256 is ")
    assert state.reason.endswith(ALTERED)
    (event,) = [e for e in events if e["event"] == "model not reloaded"]
    assert event == {
        "event": "model not reloaded",
        "log_level": "error",
        "model": "toy@1.0.0",
        "reason": state.reason,
    }
    assert told == [("toy@1.0.0", False), ("toy@1.0.0", True)]


@pytest.mark.parametrize("what", ["card", "graph"])
def test_whatever_is_broken_is_no_reason_to_stop(zoo: Path, what: str) -> None:
    told: list[tuple[str, bool]] = []
    put(zoo, "toy", seed=1)
    with administered(zoo) as (running, calls):
        assert running.app
        running.app.residency.on_load = lambda model, seconds, ok: told.append((model, ok))
        first = image(calls)
        if what == "card":
            (zoo / "toy" / "card.json").write_text("{")
        else:  # checksums agree, and there is no such graph
            put(zoo, "toy", seed=2)
            card = (zoo / "toy" / "card.json").read_text()
            (zoo / "toy" / "card.json").write_text(card.replace('"dim": 8', '"dim": 9'))
        refused = refusal(lambda: calls.admin.load("toy@1.0.0"))
        assert (refused.code, image(calls)) == ("FAILED_PRECONDITION", first)
    assert told == [("toy@1.0.0", False)]
    assert str(zoo.parent) not in refused.text
    expected = "card.json: card: Invalid JSON" if what == "card" else "the graph's inputs are "
    assert expected in refused.text


def test_requests_that_run_on_the_old_version_are_finished_on_it(
    gate: Gate, zoo: Path, loads: Loads
) -> None:
    put(zoo, "toy", seed=1)
    with administered(zoo, runners=1, max_batch=2) as (_, calls):
        first = image(calls)
        raw = [i.data for i in calls.generate("toy", seed=1, count=50)]
        gate.close()
        old = calls.images.Generate.future(pb.GenerateRequest(model="toy", seed=1, count=50))
        gate.wait()
        put(zoo, "toy", seed=2)
        loads.hold()
        with ThreadPoolExecutor() as pool:
            loading = pool.submit(calls.admin.load, "toy")
            loads.wait(1)
            assert calls.admin.states()["toy@1.0.0"].running == 1
            gate.open()
            loads.go_on()
            loading.result(TIMEOUT_S)
        assert [i.data for i in old.result(TIMEOUT_S).images] == raw
        assert image(calls) != first


def test_the_old_version_answers_until_the_new_one_is_loaded(zoo: Path, loads: Loads) -> None:
    put(zoo, "toy", seed=1)
    with administered(zoo) as (_, calls), ThreadPoolExecutor() as pool:
        first = image(calls)
        put(zoo, "toy", seed=2)
        loads.hold()
        loading = pool.submit(calls.admin.load, "toy")
        loads.wait(1)
        assert [image(calls) for _ in range(5)] == [first] * 5
        assert not loading.done()
        loads.go_on()
        assert loading.result(TIMEOUT_S).residence == LOADED
        assert image(calls) != first


def test_changes_of_one_model_are_made_one_after_the_other(zoo: Path, loads: Loads) -> None:
    put(zoo, "toy", seed=1)
    with administered(zoo) as (_, calls), ThreadPoolExecutor() as pool:
        loads.hold()
        changing = [pool.submit(calls.admin.load, "toy") for _ in range(4)]
        loads.wait(1)
        image(calls)
        assert loads.begun == ["toy@1.0.0"]
        loads.go_on()
        assert [change.result(TIMEOUT_S).residence for change in changing] == [LOADED] * 4
        assert (len(loads.begun), loads.at_once) == (4, 1)


def test_an_unload_waits_for_the_load_before_it(zoo: Path, loads: Loads) -> None:
    put(zoo, "toy", seed=1)
    with administered(zoo) as (_, calls), ThreadPoolExecutor() as pool:
        loads.hold()
        loading = pool.submit(calls.admin.load, "toy")
        loads.wait(1)
        unloading = pool.submit(calls.admin.unload, "toy")
        image(calls)
        assert not unloading.done()
        loads.go_on()
        loading.result(TIMEOUT_S)
        assert unloading.result(TIMEOUT_S).residence == UNLOADED
        assert calls.admin.residence() == {"toy@1.0.0": UNLOADED}


def test_a_load_is_finished_even_if_its_caller_leaves(zoo: Path, loads: Loads) -> None:
    put(zoo, "toy", seed=1)
    with administered(zoo) as (_, calls):
        first = image(calls)
        put(zoo, "toy", seed=2)
        loads.hold()
        leaving = calls.admin.stub.LoadModel.future(
            admin_pb2.LoadModelRequest(model="toy"), metadata=calls.admin.metadata
        )
        loads.wait(1)
        leaving.cancel()
        loads.go_on()
        until(lambda: image(calls) != first, "the new model")


def test_a_new_version_answers_to_the_name_once_it_is_loaded(zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    with administered(zoo) as (_, calls):
        first = image(calls)
        write_toy(zoo, "toy", version="2.0.0", folder="toy@2.0.0", seed=2)
        assert image(calls) == first
        assert calls.admin.load("toy").model == "toy@2.0.0"
        assert image(calls) == image(calls, "toy@2.0.0") != first == image(calls, "toy@1.0.0")


def test_a_new_version_that_is_broken_does_not_take_the_name(zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    with administered(zoo) as (_, calls):
        first = image(calls)
        write_toy(zoo, "toy", version="2.0.0", folder="toy@2.0.0", seed=2)
        damage(zoo, "toy@2.0.0")
        assert refusal(lambda: calls.admin.load("toy")).text.startswith("toy@2.0.0 could not be")
        assert calls.admin.residence() == {"toy@2.0.0": FAILED, "toy@1.0.0": LOADED}
        assert image(calls) == first
        assert calls.refusal("toy@2.0.0").code == "FAILED_PRECONDITION"


def test_a_card_that_has_been_mended_leaves_no_trace_of_what_was_broken(zoo: Path) -> None:
    put(zoo, "toy")
    (zoo / "letters").mkdir()
    (zoo / "letters" / "card.json").write_text("{")
    with administered(zoo) as (running, calls):
        assert calls.admin.residence() == {"toy@1.0.0": LOADED, "letters": FAILED}
        assert metric(running.http, "ganagerie_model_failed") == 1
        put(zoo, "letters")
        assert calls.admin.load("letters").residence == LOADED
        assert calls.admin.residence() == {"letters@1.0.0": LOADED, "toy@1.0.0": LOADED}
        assert metric(running.http, "ganagerie_model_failed") == 0
