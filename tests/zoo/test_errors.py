"""What messages repeat of a value: its beginning, however much somebody sent."""

from __future__ import annotations

import tracemalloc

import pytest

from zoo.errors import shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("x" * 80, repr("x" * 80)),
        ("x" * 81, f"'{'x' * 79}… (81 characters)"),
        ("\n" * 81, f"'{chr(92)}{('n' + chr(92)) * 39}… (81 characters)"),
        (list(range(20)), repr(list(range(20)))),
        (list(range(80)), f"{repr(list(range(80)))[:80]}… (310 characters)"),
        ([1] * 81, f"{repr([1] * 81)[:80]}… (81 elements)"),
        (10**79, "1" + "0" * 79),
        (10**80, "1" + "0" * 79 + "… (81 characters)"),
    ],
)
def test_a_long_value_is_told_by_its_beginning_and_its_length(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("value", ["x" * 10**7, [10**6] * 10**6], ids=["text", "list"])
def test_only_the_beginning_of_a_value_is_written_out(value: object) -> None:
    tracemalloc.start()
    try:
        shown(value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
