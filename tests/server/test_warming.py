"""A model is ready when it has made a batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gate import Gate
from tests.server.admin_calls import FAILED, LOADED, administered, put
from tests.server.calls import refusal
from tests.serving import server_in_thread
from zoo.errors import ZooError


@pytest.mark.parametrize(
    ("max_batch", "sizes"), [(1, [1]), (7, [1, 2, 4, 7]), (8, [1, 2, 4, 8]), (9, [1, 2, 4, 8, 9])]
)
def test_every_model_has_made_real_batches_when_the_server_is_ready(
    gate: Gate, toy_zoo: Path, max_batch: int, sizes: list[int]
) -> None:
    with server_in_thread(toy_zoo, runners=1, max_batch=max_batch, max_batch_ms=60_000):
        of_one_model = [seed for size in sizes for _ in range(2) for seed in range(size)]
        assert gate.seeds == of_one_model * 4


def test_a_model_that_loads_but_makes_no_images_is_unavailable(gate: Gate, zoo: Path) -> None:
    put(zoo, "toy", seed=1)
    with administered(zoo) as (_, calls):
        first = calls.generate("toy", seed=1)[0].data
        put(zoo, "other", seed=2)
        gate.failure = "no images today"
        why = "RuntimeError('no images today')"
        for name in ("toy", "other"):
            refused = refusal(lambda name=name: calls.admin.load(name))  # type: ignore[misc]
            assert refused.code == "FAILED_PRECONDITION"
            assert why in refused.text
        gate.failure = ""
        assert calls.admin.residence() == {"other@1.0.0": FAILED, "toy@1.0.0": LOADED}
        assert calls.generate("toy", seed=1)[0].data == first
        assert calls.refusal("other").text.endswith(why)


def test_a_server_none_of_whose_models_makes_images_does_not_start(
    gate: Gate, toy_zoo: Path
) -> None:
    gate.failure = "no images today"
    with pytest.raises(ZooError) as raised, server_in_thread(toy_zoo):
        pass
    assert str(raised.value).startswith("nothing to serve: colour@1.0.0: RuntimeError(")
