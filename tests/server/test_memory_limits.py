"""Models that leave memory for others, and come back when they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from protos.inference.v2 import open_inference_pb2 as oip
from protos.inference.v2 import open_inference_pb2_grpc as oip_grpc
from protos.v1 import ganagerie_pb2 as pb
from tests.gate import Gate
from tests.server.admin_calls import FAILED, LOADED, ON_DEMAND, Keyed, administered, damage, put
from tests.server.calls import TIMEOUT_S, Stubs, connect, refusal, until
from tests.server.loads import Loads
from tests.serving import server_in_thread
from tests.toys import write_toy

NAMES = "abcd"


@pytest.fixture
def four(zoo: Path) -> Path:
    """Models a, b, c, d of the same size."""
    for seed, name in enumerate(NAMES):
        write_toy(zoo, name, seed=seed)
    return zoo


def size(zoo: Path, name: str) -> int:
    return (zoo / name / "generator.onnx").stat().st_size


def image(calls: Stubs, model: str) -> bytes:
    return calls.generate(model, seed=1)[0].data


def in_memory(calls: Keyed) -> str:
    return "".join(m[0] for m, residence in calls.admin.residence().items() if residence == LOADED)


def test_by_default_all_stay(four: Path) -> None:
    with administered(four) as (_, calls):
        assert in_memory(calls) == "abcd"


@pytest.mark.parametrize(("limit", "held"), [(1, "a"), (3, "abc"), (4, "abcd"), (5, "abcd")])
def test_at_the_start_there_are_as_many_as_may_be(four: Path, limit: int, held: str) -> None:
    with administered(four, max_loaded_models=limit) as (_, calls):
        assert in_memory(calls) == held
        assert set(calls.admin.residence().values()) <= {LOADED, ON_DEMAND}
        images = {name: image(calls, name) for name in NAMES}
        assert len(in_memory(calls)) == min(limit, 4)
        assert images == {name: image(calls, name) for name in NAMES}
    assert len(set(images.values())) == 4


def test_who_was_used_least_recently_leaves(four: Path, loads: Loads) -> None:
    with administered(four, max_loaded_models=2) as (_, calls):
        assert loads.begun == ["a@1.0.0", "b@1.0.0"]
        image(calls, "a")
        for asked, held in [("c", "ac"), ("a", "ac"), ("d", "ad"), ("d", "ad"), ("b", "bd")]:
            image(calls, asked)
            assert in_memory(calls) == held
        list(calls.stream("d"))
        image(calls, "a")
        assert in_memory(calls) == "ad"
        assert "".join(model[0] for model in loads.begun) == "abcdba"


@pytest.mark.parametrize(("more", "held"), [(-1, "a"), (0, "ab"), (1, "ab")])
def test_bytes_are_those_of_the_files(four: Path, more: int, held: str) -> None:
    limit = size(four, "a") + size(four, "b") + more
    with administered(four, max_model_bytes=limit) as (_, calls):
        assert in_memory(calls) == held
        image(calls, "d")
        assert in_memory(calls) == ("d" if held == "a" else "bd")


def test_both_limits_hold(four: Path) -> None:
    limits = {"max_loaded_models": 3, "max_model_bytes": 2 * size(four, "a")}
    with administered(four, **limits) as (_, calls):
        assert in_memory(calls) == "ab"


@pytest.mark.parametrize("less", [0, 1])
def test_a_model_larger_than_all_memory_is_unavailable_and_says_so(zoo: Path, less: int) -> None:
    put(zoo, "big", side=64)
    put(zoo, "small")
    limit = size(zoo, "big") - less
    with administered(zoo, max_model_bytes=limit) as (_, calls):
        if less:
            assert calls.admin.residence() == {"big@1.0.0": FAILED, "small@1.0.0": LOADED}
            assert calls.refusal("big").text == (
                "big@1.0.0 is in the zoo but could not be loaded: its file has "
                f"{limit + 1:,} bytes, max_model_bytes allows {limit:,}; raise it"
            )
        else:
            assert calls.admin.residence() == {"big@1.0.0": LOADED, "small@1.0.0": ON_DEMAND}


def test_listings_and_readiness_load_nothing(four: Path, loads: Loads) -> None:
    with administered(four, max_loaded_models=1) as (_, calls):
        begun = list(loads.begun)
        stub: Any = oip_grpc.GRPCInferenceServiceStub(calls.channel)
        call: Any = {"timeout": TIMEOUT_S}
        listed = calls.zoo.ListModels(pb.ListModelsRequest()).models
        assert "".join(model.name for model in listed) == "abcd"
        assert calls.zoo.GetModel(pb.GetModelRequest(model="d")).summary.name == "d"
        assert stub.ModelReady(oip.ModelReadyRequest(name="d"), **call).ready
        assert stub.ModelMetadata(oip.ModelMetadataRequest(name="d"), **call).name == "d"
        index = stub.RepositoryIndex(oip.RepositoryIndexRequest(ready=True), **call).models
        assert [model.state for model in index] == ["READY"] * 4
        statistics = stub.ModelStatistics(oip.ModelStatisticsRequest(), **call).model_stats
        assert [model.name for model in statistics] == ["a"]
        request = oip.ModelStatisticsRequest(name="d")
        assert not stub.ModelStatistics(request, **call).model_stats
        assert loads.begun == begun


@pytest.fixture
def two(four: Path, loads: Loads) -> Iterator[Keyed]:
    """A server that holds two of the four models; loads can be held up."""
    with administered(four, max_loaded_models=2) as (_, calls):
        yield calls
        loads.go_on()


def test_all_who_ask_for_a_cold_model_share_its_load(two: Keyed, loads: Loads) -> None:
    loads.hold()
    calls = [two.images.Generate.future(pb.GenerateRequest(model="d", seed=1)) for _ in range(20)]
    loads.wait(1)
    assert image(two, "b")  # whoever is in memory answers meanwhile
    loads.go_on()
    answers = [call.result(TIMEOUT_S).images[0].data for call in calls]
    assert set(answers) == {image(two, "d")}
    assert loads.begun == ["d@1.0.0"]


def test_who_waits_for_a_cold_model_waits_until_the_deadline(two: Keyed, loads: Loads) -> None:
    loads.hold()
    request = pb.GenerateRequest(model="d")
    for method in (two.images.Generate, lambda *a, **k: list(two.images.StreamGenerate(*a, **k))):
        late = refusal(lambda method=method: method(request, timeout=0.3))  # type: ignore[misc]
        assert late.code == "DEADLINE_EXCEEDED"
    loads.go_on()
    until(lambda: in_memory(two) == "bd", "the load goes on")
    assert loads.begun == ["d@1.0.0"]
    assert image(two, "d")


def test_a_cold_model_that_cannot_be_loaded_says_so_to_all(
    two: Keyed, loads: Loads, zoo: Path
) -> None:
    loads.hold()
    damage(zoo, "d")
    calls = [two.images.Generate.future(pb.GenerateRequest(model="d")) for _ in range(5)]
    loads.wait(1)
    loads.go_on()
    refused = [refusal(call.result) for call in calls]
    assert {r.code for r in refused} == {"FAILED_PRECONDITION"}
    assert all("d@1.0.0" in r.text for r in refused)
    assert {r.text.partition("could not be loaded: ")[2][:29] for r in refused} == {
        "generator.onnx: sha256 is " + r.text.partition("sha256 is ")[2][:3] for r in refused
    }
    assert two.refusal("d").text.startswith("d@1.0.0 is in the zoo but could not be loaded: ")
    assert len(loads.begun) == 1
    put(zoo, "d", seed=3)
    assert two.admin.load("d").residence == LOADED


def test_a_cold_model_whose_folder_has_gone_says_so(two: Keyed, zoo: Path) -> None:
    (zoo / "d").rename(zoo.parent / "elsewhere")
    gone = "d@1.0.0 could not be loaded: it is no longer in the zoo folder"
    assert refusal(lambda: image(two, "d"))[:2] == ("FAILED_PRECONDITION", gone)


def test_a_busy_model_stays_while_an_idle_one_can_leave(gate: Gate, two: Keyed) -> None:
    image(two, "b")  # so a was used less recently
    gate.close()
    running = two.images.Generate.future(pb.GenerateRequest(model="a", seed=1))
    gate.wait()
    waiting = two.images.Generate.future(pb.GenerateRequest(model="c", seed=1))
    until(lambda: in_memory(two) in {"a", "ac"}, "b has left")
    gate.open()
    assert running.result(TIMEOUT_S).images
    assert waiting.result(TIMEOUT_S).images
    assert in_memory(two) == "ac"


def test_where_all_are_busy_a_load_waits_for_their_requests(
    gate: Gate, four: Path, loads: Loads
) -> None:
    limits = {"max_loaded_models": 1, "runners": 1, "max_batch": 2}
    with administered(four, **limits) as (_, calls):
        gate.close()
        running = calls.images.Generate.future(pb.GenerateRequest(model="a", count=20))
        gate.wait()
        coming = calls.images.Generate.future(pb.GenerateRequest(model="b"))
        late = refusal(lambda: calls.images.Generate(pb.GenerateRequest(model="b"), timeout=0.3))
        assert late.code == "DEADLINE_EXCEEDED"
        assert (in_memory(calls), loads.begun) == ("a", ["a@1.0.0"])
        gate.open()
        assert len(running.result(TIMEOUT_S).images) == 20
        assert coming.result(TIMEOUT_S).images
        assert in_memory(calls) == "b"


def test_where_all_stay_busy_the_caller_may_try_again_later(
    gate: Gate, four: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.residency.ROOM_S", 0.1)
    with administered(four, max_loaded_models=1, runners=1) as (_, calls):
        gate.close()
        running = calls.images.Generate.future(pb.GenerateRequest(model="a"))
        gate.wait()
        refused = refusal(lambda: image(calls, "b"))
        assert refused == (
            "RESOURCE_EXHAUSTED",
            "b@1.0.0 is not in memory, and requests are running on all models that are; "
            "try again later",
            None,
            None,
            1.0,
        )
        assert calls.admin.residence()["b@1.0.0"] == ON_DEMAND
        gate.open()
        assert running.result(TIMEOUT_S).images
        assert image(calls, "a")
        assert image(calls, "b")


def test_models_that_take_turns_under_load_all_answer(four: Path) -> None:
    """Callers of four models, one of which is in memory at a time: nobody starves or fails."""

    def ask(address: str, name: str) -> set[bytes]:
        with connect(address) as stubs:
            return {image(stubs, name) for _ in range(15)}

    server = server_in_thread(four, max_loaded_models=1)
    with server as running, ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask, running.grpc, name) for name in NAMES * 2]
        answers = [asked.result(60) for asked in asking]
    assert [len(answer) for answer in answers] == [1] * 8
    assert answers[:4] == answers[4:]
    assert len(set.union(*answers)) == 4


def test_an_old_model_that_could_not_come_back_stays(zoo: Path, four: Path) -> None:
    with administered(four, max_loaded_models=1) as (_, calls):
        first = image(calls, "a")
        damage(zoo, "a")
        assert refusal(lambda: calls.admin.load("a")).code == "FAILED_PRECONDITION"
        refused = refusal(lambda: image(calls, "b"))
        assert refused[:2] == (
            "RESOURCE_EXHAUSTED",
            "no room for b@1.0.0: what is in memory has to stay, as it cannot be loaded anew",
        )
        assert image(calls, "a") == first


def test_what_leaves_memory_leaves_no_thread_behind(four: Path) -> None:
    def runners() -> list[str]:
        ours = tuple(f"runner-{name}-" for name in NAMES)
        return sorted(t.name for t in threading.enumerate() if t.name.startswith(ours))

    with (
        structlog.testing.capture_logs() as events,
        administered(four, max_loaded_models=1, runners=2) as (_, calls),
    ):
        for name in "bcdab":
            image(calls, name)
            assert runners() == [f"runner-{name}-0", f"runner-{name}-1"]
        calls.admin.unload("b")
        until(lambda: runners() == [], "no runners")
    left = [e["model"] for e in events if e["event"] == "model left memory"]
    assert [model[0] for model in left] == ["a", "b", "c", "d", "a"]
