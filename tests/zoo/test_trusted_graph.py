"""Graphs that are not trusted: operators that are not ONNX's, weights in other files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.toys import write_toy
from zoo.catalog import BUNDLED, Catalog
from zoo.errors import ArtifactError
from zoo.generator import load_generator
from zoo.trusted_graph import DATA_LOCATION, DOMAIN, EXTERNAL_DATA, MESSAGES, check_graph

PATH = Path("m/generator.onnx")
Change = Callable[[onnx.ModelProto], object]


def _branch(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    """Hides a node in a branch of an If in a branch of an If."""
    for _ in range(2):
        graph = helper.make_graph([node], "branch", [], [])
        node = helper.make_node("If", ["c"], ["o"], then_branch=graph, else_branch=graph)
    model.graph.node.append(node)


def _function(model: onnx.ModelProto, domain: str) -> None:
    node = helper.make_node("Gelu", ["x"], ["y"], domain=domain)
    opset = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("", "F", ["x"], ["y"], [node], opset))


def _external(tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def _constant() -> onnx.NodeProto:
    tensor = _external(numpy_helper.from_array(np.zeros(3, np.float32), "t"))
    return helper.make_node("Constant", [], ["o"], value=tensor)


@pytest.fixture
def model(tmp_path: Path) -> onnx.ModelProto:
    write_toy(tmp_path, "toy", classes=("A", "B"))
    return onnx.load(tmp_path / "toy/generator.onnx")


FOREIGN: dict[str, Change] = {
    "node": lambda m: m.graph.node.append(
        helper.make_node("EPContext", ["z"], ["o"], domain="com.microsoft")
    ),
    "unused import": lambda m: m.opset_import.append(helper.make_opsetid("com.microsoft", 1)),
    "branch": lambda m: _branch(m, helper.make_node("X", [], ["o"], domain="com.microsoft")),
    "function": lambda m: _function(m, "com.microsoft"),
}
ELSEWHERE: dict[str, Change] = {
    "weight": lambda m: _external(m.graph.initializer[0]),
    "only named": lambda m: m.graph.initializer[0].external_data.add(key="location", value="w"),
    "constant": lambda m: m.graph.node.append(_constant()),
    "constant in a branch": lambda m: _branch(m, _constant()),
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_operators_of_other_domains(model: onnx.ModelProto, change: Change) -> None:
    change(model)
    with pytest.raises(ArtifactError) as caught:
        check_graph(PATH, model.SerializeToString())
    assert str(caught.value) == (
        "m/generator.onnx: has operators of domain 'com.microsoft'; only ONNX's own (ai.onnx) are "
        "allowed"
    )


@pytest.mark.parametrize("change", ELSEWHERE.values(), ids=ELSEWHERE)
def test_weights_in_other_files(model: onnx.ModelProto, change: Change) -> None:
    change(model)
    with pytest.raises(ArtifactError) as caught:
        check_graph(PATH, model.SerializeToString())
    assert str(caught.value) == (
        "m/generator.onnx: has weights in another file, which nobody checked; export it as one"
    )


def test_what_is_allowed(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "ai.onnx"
    model.opset_import.append(helper.make_opsetid("ai.onnx", 20))
    _branch(model, helper.make_node("Relu", ["z"], ["o"]))
    _function(model, "")
    check_graph(PATH, model.SerializeToString())
    for entry in Catalog.open(BUNDLED).entries:
        file = entry.folder / entry.card.artifact.file
        check_graph(file, file.read_bytes())


def test_such_a_model_is_not_loaded_though_onnxruntime_would(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    """Without the check: onnxruntime has a Gelu of its own in com.microsoft."""
    first = model.graph.node[0]
    first.input[0] = "g"
    model.graph.node.insert(0, helper.make_node("Gelu", ["z"], ["g"], domain="com.microsoft"))
    content = model.SerializeToString()
    folder = tmp_path / "toy"
    (folder / "generator.onnx").write_bytes(content)
    card = json.loads((folder / "card.json").read_text())
    card["artifact"]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))
    entry = Catalog.open(tmp_path).resolve("toy")
    with pytest.raises(ArtifactError, match=r"has operators of domain 'com\.microsoft'"):
        load_generator(entry, "cpu")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x3b", "wire type 3"),
        (b"\x3a\x05ab", "it ends in the middle of a field"),
        (b"\x3d\0\0\0", "it ends in the middle of a field"),
        (b"\x38" + b"\xff" * 10, "a number has no end"),
        (b"\x38\xff", "a number has no end"),
        (b"\xba\x80\x80\x80\x10\0", "536870919 is no number of a field"),
    ],
)
def test_what_cannot_be_followed(content: bytes, told: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        check_graph(PATH, content)
    assert str(caught.value) == (
        f"m/generator.onnx: onnxruntime cannot load it: it is no ONNX file ({told})"
    )


def test_a_graph_is_not_hidden_by_bits_that_onnxruntime_drops(model: onnx.ModelProto) -> None:
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    size = bytes([len(graph) & 0x7F | 0x80, len(graph) >> 7])
    content = model.SerializeToString() + b"\xba\x80\x80\x80\x10" + size + graph
    assert onnxruntime.InferenceSession(content).get_inputs()  # it sees field 7
    with pytest.raises(ArtifactError, match="536870919 is no number of a field"):
        check_graph(PATH, content)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(content: bytes) -> None:
    with suppress(ArtifactError):
        check_graph(PATH, content)


def test_numbers_of_fields_are_those_of_onnx() -> None:
    """Every field of these messages that leads to one of them is followed."""
    for name, followed in MESSAGES.items():
        fields = getattr(onnx, name).DESCRIPTOR.fields
        leads = {
            f.number: f.message_type.name
            for f in fields
            if f.message_type is not None and f.message_type.name in MESSAGES
        }
        assert leads == followed, name
    for name, number in DOMAIN.items():
        assert getattr(onnx, name).DESCRIPTOR.fields_by_name["domain"].number == number
    tensor = onnx.TensorProto.DESCRIPTOR.fields_by_name
    assert tensor["external_data"].number == EXTERNAL_DATA
    assert tensor["data_location"].number == DATA_LOCATION
