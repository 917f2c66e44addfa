"""Requests that hold far more than can be: they are refused before it becomes Python's objects."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from protos.v1 import ganagerie_pb2 as pb
from server.oip.inference import to_rows
from server.requests import plan
from server.translation import from_message
from tests.server.oip.calls import Tensor, seeds
from tests.server.oip.calls import request as request_for
from tests.toys import write_toy
from zoo.errors import InvalidRequest

MOST_BYTES = 4 * 1024 * 1024  # of a request, unless the server is told otherwise
EMPTY = b"\x12\x00"  # a condition without anything in it
EMPTY_CLASS = b"\x0a\x00"


def mixture_of(classes: bytes) -> bytes:
    mixture = pb.ClassMixture.FromString(classes)
    return pb.GenerateRequest(conditions=[pb.Condition(mixture=mixture)]).SerializeToString()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            EMPTY * (MOST_BYTES // len(EMPTY)),
            "conditions: 2097152 given; allowed: 0 or 1",
        ),
        (
            mixture_of(EMPTY_CLASS * (MOST_BYTES // len(EMPTY_CLASS))),
            "conditions[0].mixture.classes[0]: class_name and class_index: neither given; "
            "give exactly one",
        ),
    ],
    ids=["conditions", "classes"],
)
def test_millions_of_parts_that_cannot_be_take_no_memory(
    tmp_path: Path, body: bytes, text: str
) -> None:
    card = write_toy(tmp_path, "letters", classes=("A", "B"))
    request = pb.GenerateRequest.FromString(body)
    refused, peak = refused_at_peak(lambda: plan(from_message(request), card, max_count=4096))
    assert refused == text
    assert peak < 1_000_000


def test_millions_of_rows_that_the_first_input_has_not_take_no_memory(tmp_path: Path) -> None:
    card = write_toy(tmp_path, "letters", classes=("A", "B"))
    rows = MOST_BYTES // 4
    request = request_for("letters", seeds(1), Tensor("class", "BYTES", [rows], [b""] * rows))
    refused, peak = refused_at_peak(lambda: to_rows(request, card, 4096))
    assert refused == (
        "inputs[1].shape: 1,048,576 rows of class, 1 of seed; all must have the same number"
    )
    assert peak < 1_000_000


def refused_at_peak(ask: Callable[[], object]) -> tuple[str, int]:
    """Why that is refused, and the most bytes that Python's objects took."""
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest) as caught:
            ask()
        return str(caught.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
