"""What a card may say, and what the reader is told when it may not."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.toys import write_toy
from zoo.card import VERSION_PATTERN, Card, parse_reference, read_card, version_key
from zoo.errors import CardError

MAX_BYTES = 4 * 1024 * 1024
METRIC = {"name": "fid", "value": -1.5, "samples": 1, "tool": "toy"}
PARITY = {"max_abs_error": 0, "differing_pixels": 0, "seeds": 1, "batch_sizes": [1]}

Change = Callable[[str, Any], Path]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A valid card of a model with the classes A and B."""
    write_toy(tmp_path, "toy", classes=("A", "B"))
    return tmp_path / "toy" / "card.json"


@pytest.fixture
def change(path: Path) -> Change:
    """Sets one value of the card, given its dotted key."""

    def set_value(key: str, value: Any) -> Path:
        document = json.loads(path.read_text())
        *parents, last = key.split(".")
        target = document
        for parent in parents:
            target = target[parent]
        target[last] = value
        path.write_text(json.dumps(document))
        return path

    return set_value


def error_of(path: Path) -> str:
    with pytest.raises(CardError) as caught:
        read_card(path)
    return str(caught.value)


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = write_toy(tmp_path, "toy", version="1.2.3", classes=("A", "B"), channels=3)
    assert read_card(tmp_path / "toy" / "card.json") == written
    assert written.reference == "toy@1.2.3"
    assert written.class_names == ("A", "B")


def test_a_model_without_classes_has_no_class_names(tmp_path: Path) -> None:
    assert write_toy(tmp_path, "toy").class_names == ()


def test_what_was_not_measured_is_null(path: Path) -> None:
    document = json.loads(read_card(path).to_json())
    assert document["quality"] is None
    assert document["parity"] is None
    assert read_card(path).to_json().endswith("}\n")


def test_a_card_cannot_be_changed(path: Path) -> None:
    card = read_card(path)
    with pytest.raises(ValidationError, match="Instance is frozen"):
        card.name = "other"  # type: ignore[misc]  # that it is read-only is what is tested


@pytest.mark.parametrize("key", ["licence", "artifact.size", "latent.seed", "provenance.author"])
def test_an_unknown_key_is_an_error(change: Change, key: str) -> None:
    path = change(key, None)
    assert error_of(path) == f"{path}: {key}: Extra inputs are not permitted"


@pytest.mark.parametrize("key", list(Card.model_fields))
def test_a_missing_key_is_an_error(path: Path, key: str) -> None:
    document = json.loads(path.read_text())
    del document[key]
    path.write_text(json.dumps(document))
    assert error_of(path) == f"{path}: {key}: Field required"


def test_every_problem_is_named(change: Change) -> None:
    change("latent.dim", 0)
    path = change("image.channels", 2)
    assert error_of(path) == (
        f"{path}: latent.dim: Input should be greater than 0; "
        "image.channels: Input should be 1 or 3"
    )


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("truncation.default", "?", "truncation.default"),
        ("truncation.curve", [{"threshold": "?", "metrics": {}}], "truncation.curve.0.threshold"),
        (
            "truncation.curve",
            [{"threshold": 1, "metrics": {"x": "?"}}],
            "truncation.curve.0.metrics.x",
        ),
        ("quality", [{"name": "x", "value": "?", "samples": 1, "tool": "x"}], "quality.0.value"),
    ],
)
def test_a_number_that_is_not_finite_is_refused(
    change: Change, number: str, key: str, value: Any, where: str
) -> None:
    path = change(key, value)
    path.write_text(path.read_text().replace('"?"', number))
    assert error_of(path) == f"{path}: {where}: Input should be a finite number"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("name", name) for name in ("a", "0", "a" * 64, "dcgan-emnist_2.x")],
        *[("version", version) for version in ("0.0.0", "10.20.30", "999999999.0.0")],
        *[("artifact.file", file) for file in ("generator.onnx", "G-1_2.x.onnx")],
        ("artifact.opset", 1),
        ("latent.dim", 1),
        ("classes", None),
        ("classes.names", ["only"]),
        ("classes.names", ["a", "A", " a"]),
        ("image.height", 1),
        ("image.channels", 3),
        ("truncation.default", 0),
        ("quality", [METRIC]),
        ("parity", {**PARITY, "max_abs_error": 255, "differing_pixels": 1}),
    ],
)
def test_values_just_inside_their_limits_are_accepted(change: Change, key: str, value: Any) -> None:
    document: Any = json.loads(read_card(change(key, value)).to_json())
    for part in key.split("."):
        document = document[part]
    assert document == value


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        *[("name", name, "name") for name in ("", "a" * 65, "A", "-a", ".a", "a/b", "a@1", "a\n")],
        *[("artifact.opset", value, "artifact.opset") for value in (0, -1, 1.5)],
        *[("latent.dim", value, "latent.dim") for value in (0, -1, None)],
        ("classes.names", [], "classes.names"),
        ("image.height", 0, "image.height"),
        ("image.width", 0, "image.width"),
        ("image.channels", 2, "image.channels"),
        ("truncation.default", -0.001, "truncation.default"),
        *[("artifact.sha256", hexa, "artifact.sha256") for hexa in ("0" * 63, "0" * 65, "A" * 64)],
        ("quality", [{**METRIC, "samples": 0}], "quality.0.samples"),
        ("parity", {**PARITY, "max_abs_error": 256}, "parity.max_abs_error"),
        ("parity", {**PARITY, "max_abs_error": -1}, "parity.max_abs_error"),
        ("parity", {**PARITY, "differing_pixels": 1.001}, "parity.differing_pixels"),
        ("parity", {**PARITY, "seeds": 0}, "parity.seeds"),
        ("parity", {**PARITY, "batch_sizes": [1, 0]}, "parity.batch_sizes.1"),
    ],
)
def test_values_just_outside_their_limits_are_refused(
    change: Change, key: str, value: Any, where: str
) -> None:
    path = change(key, value)
    assert error_of(path).startswith(f"{path}: {where}: ")


def test_class_names_are_unique_and_not_empty(change: Change) -> None:
    path = change("classes.names", ["B", "A", "B", "A", "C"])
    reason = "names must be unique and not empty; repeated:"
    assert error_of(path) == f"{path}: classes.names: Value error, {reason} ['A', 'B']"
    change("classes.names", ["A", ""])
    assert error_of(path) == f"{path}: classes.names: Value error, {reason} []"


def test_twenty_thousand_classes_are_read_at_once(change: Change) -> None:
    path = change("classes.names", [f"class {i}" for i in range(21_841)])  # as ImageNet-21k has
    started_s = time.process_time()
    assert len(read_card(path).class_names) == 21_841
    assert time.process_time() - started_s < 1.0


@pytest.mark.parametrize(
    "version",
    ["", "1", "1.0", "1.0.0.0", "01.0.0", "v1.0.0", "1.0.0-rc", "-1.0.0", "1.0.0\n", "1\u0663.0.0"],
)
def test_a_version_is_three_plain_numbers(change: Change, version: str) -> None:
    path = change("version", version)
    assert error_of(path).startswith(f"{path}: version: String should match pattern")
    assert not re.fullmatch(VERSION_PATTERN, version)


def test_versions_are_ordered_by_number() -> None:
    newest_first = ["10.0.0", "2.0.0", "1.10.0", "1.9.0", "1.2.10", "1.2.3", "0.9.9"]
    assert all(re.fullmatch(VERSION_PATTERN, version) for version in newest_first)
    assert sorted(newest_first, key=version_key) == newest_first[::-1]


def test_a_reference_is_a_name_with_or_without_a_version() -> None:
    assert parse_reference("plain") == ("plain", None)
    assert parse_reference("plain@1.0.0") == ("plain", "1.0.0")
    assert parse_reference("plain@") == ("plain", "")
    assert parse_reference("plain@1@2") == ("plain", "1@2")


def test_a_card_may_have_four_mebibytes_and_no_more(path: Path) -> None:
    text = path.read_bytes()
    path.write_bytes(text.ljust(MAX_BYTES))
    assert read_card(path).name == "toy"
    path.write_bytes(text.ljust(MAX_BYTES + 1))
    assert error_of(path) == f"{path}: larger than 4,194,304 bytes"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "card: Invalid JSON: EOF while parsing a value"),
        (b"not JSON", "card: Invalid JSON: "),
        (b'{"name": "toy"', "card: Invalid JSON: EOF while parsing an object"),
        (b'{"name": "\xff"}', "card: Invalid JSON: invalid unicode code point"),
        (b"[" * 100_000, "card: Invalid JSON: recursion limit exceeded"),
        (b"[]", "card: Input should be an object"),
        (b"null", "card: Input should be an object"),
    ],
)
def test_what_is_not_a_json_object_is_refused(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    assert error_of(path).startswith(f"{path}: {reason}")


def test_a_missing_card_is_named(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    assert error_of(path) == f"{path}: cannot be read: No such file or directory"


def test_a_folder_in_place_of_the_card_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.mkdir()
    assert error_of(path) == f"{path}: cannot be read: is not a regular file"
