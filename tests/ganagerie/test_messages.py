"""Values that the protocol cannot hold: refused by the client, before any call."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from ganagerie import AsyncClient, Client
from tests.ganagerie.conftest import Call
from tests.serving import Running
from zoo.errors import InvalidRequest


class _Shown:
    def __repr__(self) -> str:
        return "<something>"


@pytest.mark.parametrize(
    ("options", "field", "shown"),
    [
        ({"count": "x"}, "count", "'x'"),
        ({"count": 1.5}, "count", "1.5"),
        ({"count": -1}, "count", "-1"),
        ({"count": 2**32}, "count", "4294967296"),
        ({"count": _Shown()}, "count", "<something>"),
        ({"seed": "x"}, "seed", "'x'"),
        ({"seed": 0.5}, "seed", "0.5"),
        ({"seed": -1}, "seed", "-1"),
        ({"seed": 2**64}, "seed", "18446744073709551616"),
        ({"seed": [1, 2]}, "seed", "[1, 2]"),
        ({"truncation": "a"}, "truncation", "'a'"),
        ({"truncation": [0.5]}, "truncation", "[0.5]"),
        ({"quality": "high"}, "quality", "'high'"),
        ({"quality": -1}, "quality", "-1"),
        ({"quality": 2**32}, "quality", "4294967296"),
        ({"classes": _Shown()}, "classes", "<something>"),
        ({"classes": 1.5}, "classes", "1.5"),
        ({"classes": [_Shown()]}, "classes[0]", "<something>"),
        ({"classes": ["A", 0.5]}, "classes[1]", "0.5"),
        ({"classes": ["A", ["B"]]}, "classes[1]", "['B']"),
        ({"classes": 2**31}, "classes", "2147483648"),
        ({"classes": -(2**31) - 1}, "classes", "-2147483649"),
        ({"classes": "\ud800"}, "classes", r"'\ud800'"),
        ({"classes": {"A": "x"}}, "classes", "{'A': 'x'}"),
        ({"classes": {0.5: 1}}, "classes", "{0.5: 1}"),
        ({"classes": ["A", {2**31: 1}]}, "classes[1]", "{2147483648: 1}"),
        ({"classes": [{_Shown(): 1}]}, "classes[0]", "{<something>: 1}"),
    ],
)
def test_value_that_cannot_be_sent(options: dict[str, Any], field: str, shown: str) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(InvalidRequest) as raised:
        client.generate("any", **options)
    assert raised.value.field == field
    assert raised.value.reason.startswith(f"{shown} is not allowed")


@pytest.mark.parametrize("model", [3, b"\xff", _Shown(), "\ud800"])
def test_model_that_cannot_be_sent(model: Any) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(InvalidRequest, match=r"^model: "):
        client.generate(model)


@pytest.mark.parametrize("value", ["gif", "PNG", "", 1, ["png"], _Shown()])
def test_unknown_format(value: Any) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(InvalidRequest) as raised:
        client.generate("any", format=value)
    assert str(raised.value) == f"format: {value!r} is unknown; allowed: png, jpeg, webp, raw"


@pytest.mark.parametrize("value", ["SCALE", "none", 2, ["scale"]])
def test_unknown_truncation_mode(value: Any) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(InvalidRequest) as raised:
        client.generate("any", truncation=0.5, truncation_mode=value)
    assert str(raised.value) == f"truncation_mode: {value!r} is unknown; allowed: threshold, scale"


def test_unknown_option(call: Call) -> None:
    with pytest.raises(InvalidRequest) as raised:
        call("127.0.0.1:1", "any", truncaton=0.5, count=3)
    assert str(raised.value) == (
        "truncaton: is not an option; allowed: "
        "count, classes, truncation, truncation_mode, seed, format, quality, priority"
    )


def test_long_values_are_cut() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(InvalidRequest) as raised:
        client.generate("any", format="x" * 1000)  # type: ignore[arg-type]  # that is the point
    assert str(raised.value) == (
        f"format: '{'x' * 79}… (1,000 characters) is unknown; allowed: png, jpeg, webp, raw"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"seed": np.uint64(7)},
        {"seed": 7, "count": np.int64(1)},
        {"seed": 7, "truncation": np.float32(1e9)},
        {"seed": 7, "truncation": Fraction(10**9)},
        {"seed": 7, "quality": None},
    ],
)
def test_numbers_of_other_kinds_are_numbers(client: Client, options: dict[str, Any]) -> None:
    assert client.generate("plain", **options)[0].seed == 7


@pytest.mark.parametrize(
    "classes",
    [("B",), [1], MappingProxyType({"B": 1}), {"B": Fraction(1, 3)}],
)
def test_classes_of_other_kinds(client: Client, classes: Any) -> None:
    assert client.generate("letters", classes=classes)[0].class_name == "B"


@pytest.mark.parametrize(
    "classes", [np.int64(1), [np.int64(1)], np.array([1]), {np.int64(1): np.float32(1)}]
)
def test_numpy_integers_are_class_indices(client: Client, classes: Any) -> None:
    assert client.generate("letters", classes=classes)[0].class_name == "B"


def test_async_client_refuses_too(toy_server: Running) -> None:
    async def ask(**options: Any) -> None:
        async with AsyncClient(toy_server.grpc) as client:
            await client.generate("any", **options)

    for options in ({"classes": object()}, {"count": "x"}, {"format": "gif"}, {"seed": -1}):
        with pytest.raises(InvalidRequest, match=f"^{next(iter(options))}: "):
            asyncio.run(ask(**options))
