"""Models that are taken out while others ask for them, and the states that are told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protos.v1 import admin_pb2
from protos.v1 import ganagerie_pb2 as pb
from tests.gate import Gate
from tests.server.admin_calls import FAILED, LOADED, UNLOADED, administered, put
from tests.server.calls import TIMEOUT_S, Refusal, refusal, until
from tests.server.traffic import image
from tests.toys import write_toy


def test_an_unloaded_model_is_refused_and_can_be_loaded_again(zoo: Path) -> None:
    gone = Refusal(
        "FAILED_PRECONDITION", "toy@1.0.0 is unloaded, until an administrator loads it again"
    )
    put(zoo, "toy", seed=1)
    put(zoo, "other", seed=2)
    with administered(zoo) as (_, calls):
        first = image(calls)
        assert calls.admin.unload("toy").residence == UNLOADED
        assert calls.admin.unload("toy@1.0.0").residence == UNLOADED  # it is
        assert calls.refusal("toy") == gone == calls.refusal("toy@1.0.0")
        listed = calls.zoo.ListModels(pb.ListModelsRequest()).models
        assert [model.name for model in listed] == ["other"]
        assert image(calls, "other")
        assert calls.admin.load("toy").residence == LOADED
        assert image(calls) == first


def test_unloading_the_newest_version_goes_back_to_the_one_before(zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    write_toy(zoo, "toy", version="2.0.0", folder="toy@2.0.0", seed=2)
    with administered(zoo) as (_, calls):
        assert image(calls) == image(calls, "toy@2.0.0")
        assert calls.admin.unload("toy").model == "toy@2.0.0"
        assert image(calls) == image(calls, "toy@1.0.0")
        assert calls.admin.load("toy@2.0.0").residence == LOADED
        assert image(calls) == image(calls, "toy@2.0.0")


def test_what_runs_on_an_unloaded_model_is_finished(gate: Gate, zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    with administered(zoo, runners=1, max_batch=2) as (_, calls):
        gate.close()
        asked = calls.stream("toy", count=50)
        calling = threading.Thread(target=lambda: got.extend(asked))
        got: list[Any] = []
        calling.start()
        gate.wait()
        calls.admin.unload("toy")
        assert calls.refusal("toy").code == "FAILED_PRECONDITION"
        gate.open()
        calling.join(TIMEOUT_S)
        assert len(got) == 50


@pytest.mark.parametrize("method", ["load", "unload"])
@pytest.mark.parametrize("name", ["tox", "", "toy@9.9.9", "../toy", "x" * 1000])
def test_a_model_that_is_nowhere_is_not_found(zoo: Path, method: str, name: str) -> None:
    put(zoo, "toy", seed=1)
    with administered(zoo) as (_, calls):
        change: Callable[[str], object] = getattr(calls.admin, method)
        refused = refusal(lambda: change(name))
    assert refused.code == "NOT_FOUND"
    assert refused.text.startswith("no model ")
    assert refused.text.endswith("There is: toy@1.0.0")


def test_states_tell_bytes_and_digests(zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    (zoo / "bad").mkdir()
    with administered(zoo) as (_, calls):
        states = calls.admin.states()
        assert list(states) == ["toy@1.0.0", "bad"]
        assert states["toy@1.0.0"].bytes == (zoo / "toy" / "generator.onnx").stat().st_size
        assert states["bad"] == admin_pb2.ModelState(
            model="bad",
            residence=FAILED,
            reason="card.json: cannot be read: No such file or directory",
        )
        calls.admin.unload("toy")
        assert calls.admin.states()["toy@1.0.0"].bytes == 0


def test_an_unloaded_model_stays_out_when_its_card_is_broken_and_mended(zoo: Path) -> None:
    put(zoo, "other")
    put(zoo, "toy")
    with administered(zoo, watch=True, watch_interval_s=0.02) as (_, calls):
        calls.admin.unload("toy")
        card = zoo / "toy" / "card.json"
        whole = card.read_text()
        for step, text in enumerate(("{", whole)):
            card.write_text(text)
            later = f"z{step}"
            put(zoo, later)
            until(lambda later=later: f"{later}@1.0.0" in calls.admin.residence(), "followed")  # type: ignore[misc]
        assert calls.admin.residence()["toy@1.0.0"] == UNLOADED
