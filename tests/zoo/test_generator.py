"""A generator makes the images that its card promises, whoever else is being served."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.toys import Z_DIM, write_toy
from zoo.catalog import Catalog
from zoo.errors import ArtifactError, BackendError
from zoo.generator import Generator, load_generator
from zoo.latents import Truncation, TruncationMode, latents
from zoo.runtime import Device

Inputs = dict[str, list[Any]]


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """Models `plain` and `letters` (classes A, B, C), for one test to change."""
    write_toy(tmp_path, "plain")
    write_toy(tmp_path, "letters", classes=("A", "B", "C"))
    return tmp_path


def load(zoo: Path, name: str, device: Device = "cpu") -> Generator:
    return load_generator(Catalog.open(zoo).resolve(name), device)


def change_card(zoo: Path, name: str, **parts: Any) -> None:
    """Replaces parts of a card; those that are dictionaries are merged."""
    path = zoo / name / "card.json"
    document = json.loads(path.read_text())
    for key, part in parts.items():
        document[key] = {**document[key], **part} if isinstance(document[key], dict) else part
    path.write_text(json.dumps(document))


def put(zoo: Path, name: str, content: bytes) -> Path:
    """Replaces the artifact, with the right checksum."""
    path = zoo / name / "generator.onnx"
    path.write_bytes(content)
    change_card(zoo, name, artifact={"sha256": hashlib.sha256(content).hexdigest()})
    return path


def graph(
    nodes: Sequence[onnx.NodeProto], inputs: Inputs, shape: list[Any], weights: dict[str, Any]
) -> bytes:
    """An ONNX file with float32 inputs and one output."""
    made = helper.make_graph(
        list(nodes),
        "toy",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return model.SerializeToString()


def echo(inputs: Inputs, shown: str, shape: list[Any]) -> bytes:
    """Images of one row: 200 times an input, cut off at 200."""
    nodes = [
        helper.make_node("Min", [shown, "one"], ["cut"]),
        helper.make_node("Mul", ["cut", "level"], ["levels"]),
        helper.make_node("Cast", ["levels"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["bytes", "shape"], ["images"]),
    ]
    weights = {"one": np.float32(1), "level": np.float32(200), "shape": np.array([-1, *shape])}
    return graph(nodes, inputs, ["N", *shape], weights)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """A model whose pixels show the last bits of its sums, which rounding would hide."""
    rng = np.random.default_rng(3)
    weights = {
        "W1": rng.standard_normal((Z_DIM, 200)).astype(np.float32),
        "W2": (rng.standard_normal((200, 64)) / 30).astype(np.float32),
        "fine": np.float32(2**22),
        "levels": np.float32(256),
        "shape": np.array([-1, 8, 8, 1]),
    }
    nodes = [
        helper.make_node("MatMul", ["z", "W1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "W2"], ["y"]),
        helper.make_node("Abs", ["y"], ["a"]),
        helper.make_node("Mul", ["a", "fine"], ["f"]),
        helper.make_node("Mod", ["f", "levels"], ["m"], fmod=1),
        helper.make_node("Cast", ["m"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["bytes", "shape"], ["images"]),
    ]
    zoo = tmp_path_factory.mktemp("exact")
    write_toy(zoo, "exact", side=8)
    put(zoo, "exact", graph(nodes, {"z": ["N", Z_DIM]}, ["N", 8, 8, 1], weights))
    return load(zoo, "exact")


SIZES = range(1, 41)
MIXED = [None, Truncation(0.5), Truncation(0.9, TruncationMode.SCALE)]


def batch(generator: Generator, first: int, n: int) -> NDArray[np.uint8]:
    seeds = range(first, first + n)
    return generator.generate(seeds, [MIXED[seed % 3] for seed in seeds])


@pytest.fixture(scope="module")
def alone(exact: Generator) -> NDArray[np.uint8]:
    """The images of the seeds 0 to 79, each made alone."""
    return np.concatenate([batch(exact, seed, 1) for seed in range(80)])


def test_pixels_do_not_depend_on_the_size_of_the_batch(
    exact: Generator, alone: NDArray[np.uint8]
) -> None:
    assert len(np.unique(alone.reshape(80, -1), axis=0)) == 80
    for size in SIZES:
        for first in (0, 80 - size):
            assert batch(exact, first, size).tobytes() == alone[first : first + size].tobytes()


def test_pixels_do_not_depend_on_other_threads(exact: Generator, alone: NDArray[np.uint8]) -> None:
    barrier = Barrier(4)

    def compare(first: int) -> list[int]:
        barrier.wait(10)
        return [n for n in SIZES if (batch(exact, first, n) != alone[first : first + n]).any()]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(compare, (0, 10, 20, 40))) == [[], [], [], []]


def test_images_come_in_the_order_of_their_seeds(
    exact: Generator, alone: NDArray[np.uint8]
) -> None:
    order = [9, 3, 3, 0, 60]
    images = exact.generate(order, [MIXED[seed % 3] for seed in order])
    assert images.tobytes() == alone[order].tobytes()


@pytest.mark.parametrize(("name", "mixtures"), [("plain", None), ("letters", [((1, 1.0),)] * 5)])
def test_images_are_what_the_graph_says(zoo: Path, name: str, mixtures: Any) -> None:
    images = load(zoo, name).generate(range(5), [None] * 5, mixtures)
    assert images.dtype == np.uint8
    assert images.shape == (5, 12, 12, 1)
    model = onnx.load_model(zoo / name / "generator.onnx")
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    logits = latents(range(5), [None] * 5, Z_DIM) @ weights["W"]
    if mixtures:
        logits = logits + weights["C"][1]
    expected = 255 / (1 + np.exp(-logits.astype(np.float64)))
    assert np.abs(images.reshape(5, -1) - expected).max() < 0.51


def test_classes_are_weighted_as_asked(zoo: Path) -> None:
    write_toy(zoo, "echo", classes=("A", "B", "C"))
    change_card(zoo, "echo", image={"height": 1, "width": 3})
    inputs: Inputs = {"z": ["N", Z_DIM], "class_weights": ["N", 3]}
    put(zoo, "echo", echo(inputs, "class_weights", [1, 3, 1]))
    mixtures = [((2, 1.0),), ((0, 0.25), (1, 0.75)), ((1, 0.5), (0, 0.5))]
    images = load(zoo, "echo").generate([7] * 3, [None] * 3, mixtures)
    assert images.reshape(3, 3).tolist() == [[0, 0, 200], [50, 150, 0], [100, 100, 0]]


def test_a_graph_of_other_classes_is_refused(zoo: Path) -> None:
    change_card(zoo, "letters", classes={"names": ["A", "B"]})
    with pytest.raises(
        ArtifactError, match=r"^letters@1.0.0: the graph's inputs are .* \['N', 3\]\)}, "
    ):
        load(zoo, "letters")


def test_a_graph_that_takes_the_truncation_is_told_it(zoo: Path) -> None:
    change_card(zoo, "plain", image={"height": 1, "width": 1})
    put(zoo, "plain", echo({"z": ["N", Z_DIM], "truncation": ["N"]}, "truncation", [1, 1, 1]))
    truncations = [None, Truncation(0.5), Truncation(0.0), Truncation(0.25, TruncationMode.SCALE)]
    images = load(zoo, "plain").generate([1, 2, 3, 4], truncations)
    assert images.ravel().tolist() == [
        200,
        100,
        0,
        76,
    ]  # the last: the threshold of the same variance


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_cpu_serves_where_there_is_no_cuda(
    zoo: Path, monkeypatch: pytest.MonkeyPatch, device: Device
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    generator = load(zoo, "plain", device)
    assert generator.provider == "CPUExecutionProvider"
    assert generator.card.reference == "plain@1.0.0"


def test_cuda_is_refused_where_it_is_not_installed(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    providers = ["AzureExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    with pytest.raises(BackendError) as caught:
        load(zoo, "plain", "cuda")
    assert str(caught.value) == (
        "device cuda: this onnxruntime has only AzureExecutionProvider, CPUExecutionProvider; "
        "install 'ganagerie[gpu]' in place of 'ganagerie[cpu]', or use --device cpu"
    )


def test_cuda_does_not_fall_back_to_the_cpu(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    real = onnxruntime.InferenceSession
    asked: list[tuple[str, str]] = []

    def without_driver(content: bytes, options: Any, providers: list[Any]) -> Any:
        assert providers[-1] == "CPUExecutionProvider"
        for _, options_of_cuda in providers[:-1]:
            assert options_of_cuda == {
                "cudnn_conv_algo_search": "HEURISTIC",
                "arena_extend_strategy": "kSameAsRequested",
                "use_tf32": "0",
                "device_id": options_of_cuda["device_id"],
            }
        asked.extend((name, options["device_id"]) for name, options in providers[:-1])
        return real(content, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", without_driver)
    with pytest.raises(BackendError) as caught:
        load_generator(Catalog.open(zoo).resolve("plain"), "cuda", gpus=(0, 3))
    assert asked == [("CUDAExecutionProvider", "0"), ("CUDAExecutionProvider", "3")]
    assert str(caught.value) == (
        "device cuda, GPU 0, 3: onnxruntime could not start its CUDA provider and would fall "
        "back to the CPU; check the driver and the CUDA and cuDNN libraries, or use --device cpu"
    )
    assert load(zoo, "plain", "auto").provider == "CPUExecutionProvider"


def test_a_missing_runtime_is_named_with_the_fix(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError) as caught:
        load(zoo, "plain")
    assert str(caught.value) == (
        "onnxruntime is not installed: pip install 'ganagerie[cpu]' for CPUs, "
        "or 'ganagerie[gpu]' for CUDA (one of them, not both)"
    )
