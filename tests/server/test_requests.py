"""What a request may ask for: every limit at both sides, and the words of each refusal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.v1 import ganagerie_pb2 as pb
from tests.server.calls import Refusal, Stubs, Weighted, connect, mixture, one
from tests.serving import server_in_thread

MAX = 2**64 - 1
INFINITY, NAN = float("inf"), float("nan")
SCALE, THRESHOLD = pb.TRUNCATION_MODE_SCALE, pb.TRUNCATION_MODE_THRESHOLD
PNG, RAW = pb.IMAGE_FORMAT_PNG, pb.IMAGE_FORMAT_RAW
JPEG, WEBP = pb.IMAGE_FORMAT_JPEG, pb.IMAGE_FORMAT_WEBP
A = pb.Condition(class_name="A")

NO_WEIGHT = "is not allowed; a finite number of at least 0"
NO_TRUNCATION = f"{NO_WEIGHT}, or unset"
NO_SCALE = "is outside 0 to 1 for truncation mode SCALE"
NO_SEED = "(the seed of the last of 2 images must fit in 64 bits)"
NO_MODE = "is unknown; allowed: THRESHOLD (1), SCALE (2)"
NO_PRIORITY = "is unknown; allowed: NORMAL (1), BULK (2)"
NO_FORMAT = "is unknown; allowed: PNG (1), JPEG (2), WEBP (3), RAW (4)"
NO_INDEX = "is outside 0 to 2 of letters@1.0.0"
NO_NAME = "is not a class of letters@1.0.0; nearest: 'B', 'C', 'A' (GetModel lists all 3)"
NOT_ONE = "must hold exactly one of class_name, class_index and mixture"
NEITHER = "class_name and class_index: neither given; give exactly one"
BOTH = "class_name and class_index: both given; give exactly one"
UNNAMED = pb.WeightedClass(weight=1)
DOUBLE = pb.WeightedClass(class_name="A", class_index=0, weight=1)


def refused_as_invalid(stubs: Stubs, field: str, reason: str, **fields: Any) -> None:
    refused = stubs.refusal("letters", **fields)
    assert refused == Refusal("INVALID_ARGUMENT", f"{field}: {reason}", field, reason)


@pytest.mark.parametrize(
    ("field", "fields", "reason"),
    [
        ("count", {"count": 0}, "0 is outside 1 to 4096"),
        ("count", {"count": 4097}, "4097 is outside 1 to 4096"),
        ("count", {"count": 2**32 - 1}, "4294967295 is outside 1 to 4096"),
        ("truncation", {"truncation": NAN}, f"nan {NO_TRUNCATION}"),
        ("truncation", {"truncation": INFINITY}, f"inf {NO_TRUNCATION}"),
        ("truncation", {"truncation": -INFINITY}, f"-inf {NO_TRUNCATION}"),
        ("truncation", {"truncation": -0.5}, f"-0.5 {NO_TRUNCATION}"),
        ("truncation", {"truncation": -0.1}, f"-0.1 {NO_TRUNCATION}"),
        ("truncation", {"truncation": NAN, "truncation_mode": SCALE}, f"nan {NO_TRUNCATION}"),
        ("truncation", {"truncation": 1.5, "truncation_mode": SCALE}, f"1.5 {NO_SCALE}"),
        (
            "truncation",
            {"truncation": 1.0000001, "truncation_mode": SCALE},
            f"1.0000001 {NO_SCALE}",
        ),
        ("truncation_mode", {"truncation_mode": SCALE}, "SCALE needs a truncation beside it"),
        (
            "truncation_mode",
            {"truncation_mode": THRESHOLD},
            "THRESHOLD needs a truncation beside it",
        ),
        ("truncation_mode", {"truncation": 0.5, "truncation_mode": 3}, f"3 {NO_MODE}"),
        ("truncation_mode", {"truncation_mode": -1}, f"-1 {NO_MODE}"),
        ("format", {"format": 5}, f"5 {NO_FORMAT}"),
        ("format", {"format": -1}, f"-1 {NO_FORMAT}"),
        ("priority", {"priority": 3}, f"3 {NO_PRIORITY}"),
        ("priority", {"priority": -1}, f"-1 {NO_PRIORITY}"),
        ("quality", {"quality": 90}, "90: PNG has none; leave it unset"),
        ("quality", {"format": PNG, "quality": 0}, "0: PNG has none; leave it unset"),
        ("quality", {"format": RAW, "quality": 100}, "100: RAW has none; leave it unset"),
        ("quality", {"format": JPEG, "quality": 0}, "0 is outside 1 to 100"),
        ("quality", {"format": JPEG, "quality": 101}, "101 is outside 1 to 100"),
        ("quality", {"format": WEBP, "quality": 0}, "0 is outside 1 to 100"),
        ("quality", {"format": WEBP, "quality": 101}, "101 is outside 1 to 100"),
        ("seed", {"seed": MAX, "count": 2}, f"{MAX} is outside 0 to {MAX - 1} {NO_SEED}"),
    ],
)
def test_a_value_that_cannot_be_is_refused(
    stubs: Stubs, field: str, fields: dict[str, Any], reason: str
) -> None:
    refused_as_invalid(stubs, field, reason, **fields)


@pytest.mark.parametrize(
    ("place", "conditions", "count", "reason"),
    [
        ("", [A, A], 3, "2 given; allowed: 0, 1 or 3 (the count)"),
        ("", [A, A], 1, "2 given; allowed: 0 or 1"),
        ("[0]", one(), 1, NOT_ONE),
        ("[0]", one(class_name="A", mixture=pb.ClassMixture()), 1, NOT_ONE),
        ("[0]", one(class_name="A", class_index=0), 1, BOTH),
        ("[0].class_index", one(class_index=-1), 1, f"-1 {NO_INDEX}"),
        ("[1].class_index", [A, *one(class_index=3)], 2, f"3 {NO_INDEX}"),
        ("[0].class_name", one(class_name="b"), 1, f"'b' {NO_NAME}"),
        ("[0].class_name", one(class_name=""), 1, f"'' {NO_NAME}".replace("'B', 'C'", "'C', 'B'")),
    ],
)
def test_a_condition_that_cannot_be_is_refused(
    stubs: Stubs, place: str, conditions: list[pb.Condition], count: int, reason: str
) -> None:
    refused_as_invalid(stubs, f"conditions{place}", reason, conditions=conditions, count=count)


@pytest.mark.parametrize(
    ("place", "weighted", "reason"),
    [
        ("", [], "the weights sum to 0; at least one must be positive"),
        ("", [("A", 0), ("B", 0)], "the weights sum to 0.0; at least one must be positive"),
        (".classes[1].weight", [("A", 1), ("B", -0.1)], f"-0.1 {NO_WEIGHT}"),
        (".classes[0].weight", [("A", -INFINITY)], f"-inf {NO_WEIGHT}"),
        (".classes[0].weight", [("A", NAN)], f"nan {NO_WEIGHT}"),
        (".classes[1].weight", [("A", 1), ("B", INFINITY)], f"inf {NO_WEIGHT}"),
        (".classes[1]", [("A", 1), ("A", 2)], "class 'A' is there twice"),
        (".classes[2]", [("A", 1), ("C", 1), (0, 0)], "class 'A' is there twice"),
        (".classes[0].class_index", [(3, 1)], f"3 {NO_INDEX}"),
        (".classes[1].class_index", [(0, 1), (-1, 1)], f"-1 {NO_INDEX}"),
        (".classes[0].class_name", [("b", 1)], f"'b' {NO_NAME}"),
        (".classes[0]", [UNNAMED], NEITHER),
        (".classes[0]", [DOUBLE], BOTH),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(
    stubs: Stubs, place: str, weighted: list[Weighted], reason: str
) -> None:
    field = f"conditions[1].mixture{place}"
    refused_as_invalid(stubs, field, reason, conditions=[A, *mixture(*weighted)], count=2)


def test_a_model_without_classes_takes_no_condition(stubs: Stubs) -> None:
    refused = stubs.refusal("plain", conditions=[A])
    assert refused[2:4] == ("conditions", "plain@1.10.0 has no classes; leave conditions empty")


def test_a_class_name_far_from_all_still_gets_the_nearest(stubs: Stubs) -> None:
    refused = stubs.refusal("colour", conditions=one(class_name="gren"))
    assert refused.reason == (
        "'gren' is not a class of colour@1.0.0; nearest: 'green', 'red' (GetModel lists all 2)"
    )


@pytest.mark.parametrize(
    ("model", "start"),
    [
        ("leters", "no model 'leters'; did you mean 'letters'? "),
        ("plain@9.9.9", "no model 'plain@9.9.9'; did you mean 'plain@1.9.0'? "),
        ("plain@", "no model 'plain@'; did you mean 'plain'? "),
        ("PLAIN", "no model 'PLAIN'. "),
        ("", "no model ''. "),
    ],
)
def test_an_unknown_model_is_not_found_and_the_known_ones_are_listed(
    stubs: Stubs, model: str, start: str
) -> None:
    refused = stubs.refusal(model)
    assert refused == Refusal(
        "NOT_FOUND",
        f"{start}There is: colour@1.0.0, letters@1.0.0, plain@1.10.0, plain@1.9.0",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"truncation": 0},
        {"truncation": -0.0},
        {"truncation": 1e-45},
        {"truncation": 3.4e38, "truncation_mode": THRESHOLD},
        {"truncation": 0, "truncation_mode": SCALE},
        {"truncation": 1, "truncation_mode": SCALE},
        {"format": JPEG, "quality": 1},
        {"format": JPEG, "quality": 100},
        {"format": WEBP, "quality": 1},
        {"format": WEBP, "quality": 100},
        {"seed": 0},
        {"seed": MAX},
        {"seed": MAX - 1, "count": 2},
        {"conditions": one(class_index=0)},
        {"conditions": one(class_index=2)},
        {"conditions": [A], "count": 3},
        {"conditions": [A, A, A], "count": 3},
        {"conditions": mixture(("A", 0), ("B", 1e-45))},
        {"conditions": mixture(("A", 3.4e38), ("B", 3.4e38), ("C", 3.4e38))},
    ],
)
def test_a_value_at_the_limit_is_served(stubs: Stubs, fields: dict[str, Any]) -> None:
    images = stubs.generate("letters", **fields)
    assert [image.index for image in images] == list(range(fields.get("count", 1)))


@pytest.fixture(scope="module")
def small(toy_zoo: Path) -> Iterator[Stubs]:
    with server_in_thread(toy_zoo, max_count=16) as running, connect(running.grpc) as stubs:
        yield stubs


@pytest.mark.parametrize("count", [1, 16])
def test_the_servers_own_limit_is_the_largest_count(small: Stubs, count: int) -> None:
    assert len(small.generate("plain", count=count)) == count
    assert len(list(small.stream("plain", count=count))) == count


def test_one_more_than_the_servers_own_limit_is_refused(small: Stubs) -> None:
    refused = small.refusal("plain", count=17)
    assert refused[2:4] == ("count", "17 is outside 1 to 16")


def test_a_refusal_leaves_the_connection_as_it_was(stubs: Stubs) -> None:
    for _ in range(20):
        stubs.refusal("letters", count=0)
    assert len(stubs.generate("letters")) == 1
    assert stubs.refusal("nobody").code == grpc.StatusCode.NOT_FOUND.name


def test_a_long_name_is_told_by_its_beginning_and_its_length(stubs: Stubs) -> None:
    start = f"no model '{'x' * 79}… (1,000,000 characters). "
    assert stubs.refusal("x" * 1_000_000).text.startswith(start)
