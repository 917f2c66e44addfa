"""`ganagerie zoo`: listing, showing, verifying."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.ganagerie.conftest import Cli
from tests.toys import Z_DIM, write_toy
from zoo.card import Card

OK = "checksum, graph, image of seed 0"


def _edit_card(folder: Path, **changes: Any) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _replace_artifact(folder: Path, content: bytes) -> None:
    """Another file, and a card that vouches for it."""
    (folder / "generator.onnx").write_bytes(content)
    artifact = json.loads((folder / "card.json").read_text())["artifact"]
    _edit_card(folder, artifact={**artifact, "sha256": hashlib.sha256(content).hexdigest()})


def _fails_when_run() -> bytes:
    """A graph as the card promises it, which looks up row 1000 and more of a table of one row."""
    nodes = [
        helper.make_node("Abs", ["z"], ["positive"]),
        helper.make_node("Add", ["positive", "offset"], ["large"]),
        helper.make_node("Cast", ["large"], ["whole"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["whole", "axes"], ["row"], keepdims=0),
        helper.make_node("Gather", ["table", "row"], ["images"]),
    ]
    constants = {
        "offset": np.float32(1000),
        "axes": np.array([1]),
        "table": np.zeros((1, 12, 12, 1), "uint8"),
    }
    graph = helper.make_graph(
        nodes,
        "broken",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", Z_DIM])],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 12, 12, 1])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opset = [helper.make_opsetid("", 20)]
    content: bytes = helper.make_model(
        graph, opset_imports=opset, ir_version=10
    ).SerializeToString()
    return content


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """Models `first`, `middle` and `zlast`."""
    write_toy(tmp_path, "first")
    write_toy(tmp_path, "middle", classes=("A", "B"), channels=3)
    write_toy(tmp_path, "zlast")
    return tmp_path


def test_list_shows_every_model(cli: Cli, toy_zoo: Path) -> None:
    done = cli("zoo", "list", "--zoo", toy_zoo)
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines() if line.strip()]
    assert rows[0] == ["model", "architecture", "image", "classes", "images", "seen"]
    assert rows[2:] == [
        ["colour@1.0.0", "toy", "12x12x3", "2", "-"],
        ["letters@1.0.0", "toy", "12x12x1", "3", "-"],
        ["plain@1.10.0", "toy", "12x12x1", "-", "-"],
        ["plain@1.9.0", "toy", "12x12x1", "-", "-"],
    ]


def test_list_shows_how_many_images_were_seen(cli: Cli, zoo: Path) -> None:
    provenance = json.loads((zoo / "first" / "card.json").read_text())["provenance"]
    _edit_card(zoo / "first", provenance={**provenance, "images_seen": 1234567})
    assert "1,234,567" in cli("zoo", "list", "--zoo", zoo).out


def test_list_shows_long_names_whole(cli: Cli, tmp_path: Path) -> None:
    name = "n" * 64
    write_toy(tmp_path, name, version="10.20.30")
    done = cli("zoo", "list", "--zoo", tmp_path)
    assert f"{name}@10.20.30" in done.out.replace("\n", "").replace(" ", "")


@pytest.mark.parametrize("architecture", ["[bold]x", "[/x]", ":smile:"])
def test_list_shows_cards_as_they_are(cli: Cli, zoo: Path, architecture: str) -> None:
    _edit_card(zoo / "first", architecture=architecture)
    done = cli("zoo", "list", "--zoo", zoo)
    assert done.code == 0
    assert architecture in done.out


def test_list_tells_what_is_unusable(cli: Cli, zoo: Path) -> None:
    _edit_card(zoo / "middle", name="Bad Name")
    done = cli("zoo", "list", "--zoo", zoo)
    assert done.code == 0
    assert "first@1.0.0" in done.out
    assert "zlast@1.0.0" in done.out
    assert "middle" not in done.out
    assert done.err == (
        f"unusable: {zoo}/middle/card.json: name: String should match pattern "
        "'^[a-z0-9][a-z0-9._-]{0,63}$'\n"
    )


@pytest.mark.parametrize("command", [["list"], ["show", "plain"], ["verify"], ["verify", "plain"]])
def test_zoo_that_is_not_there(cli: Cli, command: list[str]) -> None:
    done = cli("zoo", *command, "--zoo", "nowhere")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: zoo nowhere: cannot be read: No such file or directory\n"


def test_zoo_may_come_from_the_environment(
    cli: Cli, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANAGERIE_ZOO", str(zoo))
    assert "middle@1.0.0" in cli("zoo", "list").out


@pytest.mark.parametrize(
    ("reference", "version"), [("plain", "1.10.0"), ("plain@1.9.0", "1.9.0"), ("letters", "1.0.0")]
)
def test_show_prints_the_card(cli: Cli, toy_zoo: Path, reference: str, version: str) -> None:
    done = cli("zoo", "show", reference, "--zoo", toy_zoo)
    assert (done.code, done.err) == (0, "")
    card = Card.model_validate_json(done.out)
    assert (card.name, card.version) == (reference.split("@")[0], version)


@pytest.mark.parametrize("command", ["show", "verify"])
def test_unknown_model(cli: Cli, zoo: Path, command: str) -> None:
    done = cli("zoo", command, "frist", "--zoo", zoo)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: no model 'frist'; did you mean 'first'? "
        "There is: first@1.0.0, middle@1.0.0, zlast@1.0.0\n"
    )


def test_verify_finds_nothing_wrong(cli: Cli, zoo: Path) -> None:
    done = cli("zoo", "verify", "--zoo", zoo)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.rsplit(" ", 1)[0] for line in lines] == [
        f"ok      {name}@1.0.0: {OK}" for name in ("first", "middle", "zlast")
    ]


def _truncate(folder: Path) -> None:
    path = folder / "generator.onnx"
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_truncate, "the file was altered or only partly copied; fetch it again"),
        (lambda folder: (folder / "generator.onnx").unlink(), "No such file or directory"),
        (lambda folder: _replace_artifact(folder, b"not ONNX"), "onnxruntime cannot load it"),
        (lambda folder: _replace_artifact(folder, _fails_when_run()), "out of data bounds"),
        (
            lambda folder: _edit_card(folder, image={"height": 8, "width": 12, "channels": 1}),
            "['N', 8, 12, 1])}",
        ),
        (lambda folder: _edit_card(folder, colour="red"), "Extra inputs are not permitted"),
        (lambda folder: (folder / "card.json").unlink(), "card.json: cannot be read"),
    ],
)
def test_verify_reports_what_is_wrong_and_goes_on(
    cli: Cli, zoo: Path, damage: Any, reason: str
) -> None:
    write_toy(zoo, "broken")
    damage(zoo / "broken")
    done = cli("zoo", "verify", "--zoo", zoo)
    assert (done.code, done.err) == (1, "")
    lines = done.out.splitlines()
    failed = [line for line in lines if line.startswith("FAILED  ")]
    assert len(failed) == 1
    assert "broken" in failed[0]
    assert reason in failed[0]
    assert sum(line.startswith("ok      ") for line in lines) == len(lines) - 1 == 3


def test_verify_of_one_model_passes_over_the_others(cli: Cli, zoo: Path) -> None:
    _truncate(zoo / "middle")
    _edit_card(zoo / "zlast", name="Bad Name")
    done = cli("zoo", "verify", "first", "--zoo", zoo)
    assert done.code == 0
    assert done.out.startswith("ok      first@1.0.0: ")
    done = cli("zoo", "verify", "middle", "--zoo", zoo)
    assert done.code == 1
    assert done.out.startswith("FAILED  middle@1.0.0: ")
    done = cli("zoo", "verify", "zlast", "--zoo", zoo)
    assert (done.code, done.err) == (1, "")
    assert done.out.startswith(f"FAILED  {zoo}/zlast/card.json: name: String should match pattern")


def test_verify_of_nothing_fails(cli: Cli, tmp_path: Path) -> None:
    done = cli("zoo", "verify", "--zoo", tmp_path)
    assert (done.code, done.out, done.err) == (1, f"FAILED  zoo {tmp_path}: holds no model\n", "")


def test_verify_without_a_runtime(cli: Cli, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = cli("zoo", "verify", "--zoo", zoo)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: onnxruntime is not installed: pip install 'ganagerie[cpu]'")
    assert cli("zoo", "list", "--zoo", zoo).code == 0
