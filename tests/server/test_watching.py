"""`--watch`: the server follows its zoo folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from protos.v1 import ganagerie_pb2 as pb
from tests.server.admin_calls import FAILED, LOADED, UNLOADED, Keyed, administered, damage, put
from tests.server.calls import connect, refusal, until
from tests.server.loads import Loads
from tests.server.traffic import Traffic, changes, image
from tests.serving import server_in_thread
from tests.toys import write_toy


@contextmanager
def watched(zoo: Path, interval_s: float = 0.02, **settings: Any) -> Iterator[Keyed]:
    with administered(zoo, watch=True, watch_interval_s=interval_s, **settings) as (_, calls):
        yield calls


def listed(calls: Keyed) -> list[str]:
    models = calls.zoo.ListModels(pb.ListModelsRequest()).models
    return [f"{model.name}@{model.version}" for model in models]


def test_a_model_that_comes_is_served(zoo: Path) -> None:
    put(zoo, "toy")
    with watched(zoo) as calls:
        put(zoo, "letters", classes=("A", "B"))
        until(lambda: listed(calls) == ["letters@1.0.0", "toy@1.0.0"], "it came")
        assert image(calls, "letters")


def test_without_watch_nothing_is_followed(zoo: Path, loads: Loads) -> None:
    put(zoo, "toy")
    with administered(zoo, watch_interval_s=0.02) as (_, calls):
        put(zoo, "letters")
        time.sleep(0.2)
        assert (listed(calls), loads.begun) == (["toy@1.0.0"], ["toy@1.0.0"])


def test_a_new_version_takes_the_name(zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    with watched(zoo) as calls:
        first = image(calls)
        put(zoo, "toy", version="1.10.0", folder="toy@1.10.0", seed=2)
        until(lambda: image(calls) != first, "the new version")
        assert image(calls, "toy@1.0.0") == first


def test_a_model_that_changes_is_reloaded_under_traffic_and_no_call_fails(zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    with ExitStack() as stack:
        running, calls = stack.enter_context(administered(zoo, watch=True, watch_interval_s=0.02))
        expected = [image(calls)]
        traffic = Traffic(running.grpc, stack)
        for seed in (2, 3):
            traffic.more()
            # Not at once, as somebody might do it: the file first, then the card.
            put(zoo.parent / "next", "toy", seed=seed)
            shutil.copy(zoo.parent / "next/toy/generator.onnx", zoo / "toy")
            traffic.more()
            shutil.copy(zoo.parent / "next/toy/card.json", zoo / "toy")
            until(lambda: image(calls) != expected[-1], "the new model")
            expected.append(image(calls))
        traffic.more()
        traffic.stop()
        assert [changes(seen) for seen in traffic.seen] == [expected] * len(traffic.seen)


def test_a_folder_with_another_version_in_it_is_replaced(zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    with watched(zoo) as calls:
        first = image(calls)
        put(zoo.parent / "next", "toy", version="2.0.0", seed=2)
        for name in ("card.json", "generator.onnx"):
            shutil.copy(zoo.parent / "next/toy" / name, zoo / "toy")
        until(lambda: listed(calls) == ["toy@2.0.0"], "the new version alone")
        assert image(calls) != first
        assert refusal(lambda: image(calls, "toy@1.0.0")).code == "NOT_FOUND"


def test_a_model_that_goes_is_not_found(zoo: Path) -> None:
    put(zoo, "toy")
    put(zoo, "other")
    with watched(zoo) as calls:
        shutil.rmtree(zoo / "toy")
        until(lambda: listed(calls) == ["other@1.0.0"], "it went")
        assert calls.refusal("toy").code == "NOT_FOUND"
        put(zoo, "toy")
        until(lambda: listed(calls) == ["other@1.0.0", "toy@1.0.0"], "it came back")
        assert image(calls)


@pytest.mark.parametrize("what", ["no card", "half a card", "half a file", "no file", "other file"])
def test_a_folder_that_is_being_written_takes_no_running_model_down(zoo: Path, what: str) -> None:
    put(zoo, "toy", seed=1)
    card, file = zoo / "toy" / "card.json", zoo / "toy" / "generator.onnx"
    whole = card.read_text(), file.read_bytes()
    with structlog.testing.capture_logs() as events, watched(zoo) as calls:
        first = image(calls)
        match what:
            case "no card":
                card.unlink()
            case "half a card":
                card.write_text(whole[0][: len(whole[0]) // 2])
            case "half a file":
                damage(zoo, "toy")
            case "no file":
                file.unlink()
            case _:
                (zoo / "toy" / "generator.onnx").write_bytes(b"x" * len(whole[1]))
        until(lambda: "model not reloaded" in str(events), "it was seen")
        assert (image(calls), calls.admin.residence()) == (first, {"toy@1.0.0": LOADED})
        assert calls.admin.states()["toy@1.0.0"].reason
        card.write_text(whole[0])
        file.write_bytes(whole[1])
        until(lambda: not calls.admin.states()["toy@1.0.0"].reason, "all is well")
        assert image(calls) == first
    assert [e["event"] for e in events].count("model not reloaded") <= 2


def test_a_half_written_new_version_does_not_take_the_name_until_it_is_whole(zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    put(zoo.parent / "next", "toy", version="2.0.0", seed=2)
    new = zoo / "toy@2.0.0"
    with watched(zoo) as calls:
        first = image(calls)
        new.mkdir()
        until(lambda: calls.admin.residence().get("toy@2.0.0") == FAILED, "the empty folder")
        assert image(calls) == first
        shutil.copy(zoo.parent / "next/toy/card.json", new)
        until(lambda: "generator.onnx" in calls.admin.states()["toy@2.0.0"].reason, "the card")
        assert image(calls) == first
        shutil.copy(zoo.parent / "next/toy/generator.onnx", new)
        until(lambda: calls.admin.residence().get("toy@2.0.0") == LOADED, "all of it")
        assert image(calls) != first
        assert list(calls.admin.residence()) == ["toy@2.0.0", "toy@1.0.0"]


def test_a_folder_is_not_read_while_it_is_written(zoo: Path, loads: Loads) -> None:
    put(zoo, "toy", seed=1)
    with structlog.testing.capture_logs() as events, watched(zoo, interval_s=0.4) as calls:
        whole = (zoo / "toy" / "generator.onnx").read_bytes()
        for step in range(40):
            (zoo / "toy" / "generator.onnx").write_bytes(whole[: step * len(whole) // 39])
            time.sleep(0.03)
        assert loads.begun == ["toy@1.0.0"]
        until(lambda: len(loads.begun) == 2, "it is read once it is whole")
        assert image(calls)
    assert "not reloaded" not in str(events)


def test_hidden_and_partial_folders_are_passed_over(zoo: Path) -> None:
    put(zoo, "toy")
    with watched(zoo) as calls:
        write_toy(zoo, "next", folder=".next.partial")
        write_toy(zoo, "next", folder="_next")
        put(zoo, "other")
        until(lambda: "other@1.0.0" in listed(calls), "the other")
        assert list(calls.admin.residence()) == ["other@1.0.0", "toy@1.0.0"]
        (zoo / ".next.partial").rename(zoo / "next")  # as the zoo publishes
        until(lambda: "next@1.0.0" in listed(calls), "published")


def test_a_zoo_folder_that_is_lost_and_found(zoo: Path) -> None:
    put(zoo, "toy")
    with structlog.testing.capture_logs() as events, watched(zoo) as calls:
        zoo.rename(zoo.parent / "away")
        until(lambda: "zoo folder lost" in str(events), "lost")
        assert image(calls)
        put(zoo.parent / "away", "other")
        (zoo.parent / "away").rename(zoo)
        until(lambda: listed(calls) == ["other@1.0.0", "toy@1.0.0"], "found")
    lost = [event for event in events if event["event"] == "zoo folder lost, its models stay"]
    assert len(lost) == 1
    assert "No such file or directory" in lost[0]["reason"]


def test_an_unloaded_model_stays_out_when_its_folder_changes(zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    put(zoo, "other")
    with watched(zoo) as calls:
        calls.admin.unload("toy")
        put(zoo, "toy", seed=2)
        put(zoo, "third")
        until(lambda: "third@1.0.0" in listed(calls), "the third")
        assert calls.admin.residence()["toy@1.0.0"] == UNLOADED


def test_a_broken_model_is_served_once_it_is_mended(zoo: Path) -> None:
    put(zoo, "toy")
    put(zoo, "altered")
    damage(zoo, "altered")
    (zoo / "senseless").mkdir()
    (zoo / "senseless" / "card.json").write_text("{")
    with watched(zoo) as calls:
        assert listed(calls) == ["toy@1.0.0"]
        put(zoo, "altered")
        put(zoo, "senseless")
        until(lambda: len(listed(calls)) == 3, "mended")
        until(lambda: len(calls.admin.residence()) == 3, "no trace of what was broken")


def test_a_server_without_admin_watches_too(zoo: Path) -> None:
    put(zoo, "toy")
    server = server_in_thread(zoo, watch=True, watch_interval_s=0.02)
    with server as running, connect(running.grpc) as stubs:
        put(zoo, "other")
        until(lambda: len(stubs.zoo.ListModels(pb.ListModelsRequest()).models) == 2, "it came")


def test_the_limits_hold_for_what_comes(zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    with watched(zoo, max_loaded_models=1) as calls:
        first = image(calls)
        put(zoo, "other", seed=2)
        until(lambda: listed(calls) == ["other@1.0.0", "toy@1.0.0"], "it came")
        assert list(calls.admin.residence().values()).count(LOADED) == 1
        assert image(calls, "other") != image(calls) == first
