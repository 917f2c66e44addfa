"""The exported graph: small, with a dynamic batch, and equal to torch."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from zoo.errors import ExportError
from zoo.exporters.graph import OPSET, ServedGenerator, trace
from zoo.exporters.half_storage import store_weights_as_fp16
from zoo.exporters.parity import Feeds, compare
from zoo.latents import latents
from zoo.nets.dcgan import Generator

Z_DIM = 12


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def served() -> ServedGenerator:
    """Random weights and batch-norm statistics, large enough for contrast."""
    torch.manual_seed(0)
    generator = Generator(Z_DIM, (16, 8, 4), 32)
    for name, value in generator.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif name.endswith("running_mean"):
            value.normal_()
        elif name.endswith("bias") or value.dim() > 1:
            value.normal_(0.0, 0.4)
    return ServedGenerator(generator, Z_DIM).eval()


@pytest.fixture(scope="module")
def model(served: ServedGenerator) -> onnx.ModelProto:
    return trace(served)


class File:
    """An exported file, loaded."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        content = model.SerializeToString()
        self.session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, z: NDArray[np.float32]) -> NDArray[np.uint8]:
        images: NDArray[np.uint8] = self.session.run(["images"], {"z": z})[0]
        return images


def torchs(served: ServedGenerator, n: int) -> NDArray[np.uint8]:
    with torch.no_grad():
        images: NDArray[np.uint8] = served(torch.from_numpy(some_latents(n))).numpy()
    return images


def some_latents(n: int) -> NDArray[np.float32]:
    return latents(range(n), [None] * n, Z_DIM)


def test_contract_of_the_graph(model: onnx.ModelProto) -> None:
    session = File(model).session
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("z", "tensor(float)", ["N", Z_DIM])
    ]
    assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == [
        ("images", "tensor(uint8)", ["N", 28, 28, 1])
    ]
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]


@pytest.mark.parametrize("n", [1, 2, 33])
def test_any_number_of_images(model: onnx.ModelProto, served: ServedGenerator, n: int) -> None:
    made, wanted = File(model)(some_latents(n)), torchs(served, n)
    assert made.shape == wanted.shape == (n, 28, 28, 1)
    assert made.dtype == wanted.dtype == np.uint8
    assert np.abs(made.astype(int) - wanted.astype(int)).max() <= 1
    assert (made != wanted).mean() < 0.001
    assert int(wanted.max()) - int(wanted.min()) > 100  # there is something to see


def test_images_are_rounded_and_channels_come_last() -> None:
    class Fixed(torch.nn.Module):
        pixel_range = (0.0, 1.0)

        def forward(self, _: torch.Tensor) -> torch.Tensor:
            levels = torch.tensor([0.0, 0.4, 0.6, 254.4, 254.6, 255.0])
            return (levels / 255).reshape(1, 2, 1, 3)  # two channels, 1 x 3 pixels

    images = ServedGenerator(Fixed(), 1)(torch.zeros(1, 1))
    assert images.shape == (1, 1, 3, 2)
    assert images.flatten().tolist() == [0, 254, 0, 255, 1, 255]


def test_graph_is_small_and_batch_norm_is_folded(model: onnx.ModelProto) -> None:
    assert Counter(node.op_type for node in model.graph.node) == {
        "Gemm": 2,
        "ConvTranspose": 3,
        "Relu": 4,
        "Sigmoid": 1,
        "Mul": 1,
        "Round": 1,
        "Clip": 1,
        "Cast": 1,
        "Reshape": 1,
        "Transpose": 1,
    }


def test_no_notes_about_the_machine(model: onnx.ModelProto) -> None:
    stripped = onnx.ModelProto()
    stripped.CopyFrom(model)
    for weight in stripped.graph.initializer:
        weight.ClearField("raw_data")  # may hold any bytes
    content = stripped.SerializeToString()
    root = Path(__file__).resolve().parents[3]
    for trace_of_it in (str(root), sys.prefix, "site-packages", ".py", "forward", "aten"):
        assert trace_of_it.encode() not in content, trace_of_it
    graph = model.graph
    for part in (graph.input, graph.output, graph.value_info, graph.node, graph.initializer):
        assert not any(item.doc_string or item.metadata_props for item in part)
    notes = (model.doc_string, graph.doc_string, model.metadata_props, graph.metadata_props)
    assert not any(notes)
    assert not model.functions


def weights_of(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    return {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}


def test_half_storage_halves_large_weights(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    halved = store_weights_as_fp16(model)
    assert model.SerializeToString() == before  # a copy was changed
    assert len(halved.SerializeToString()) < 0.6 * len(before)
    full, half = weights_of(model), weights_of(halved)
    large = {n for n, w in full.items() if w.dtype == np.float32 and w.size >= 256}
    assert large
    assert half.keys() == {f"{n}_fp16" if n in large else n for n in full}
    for name in large:
        assert np.array_equal(half[f"{name}_fp16"], full[name].astype(np.float16))
    assert all(np.array_equal(half[n], full[n]) for n in full.keys() - large)


@pytest.mark.parametrize(("size", "stored"), [(255, np.float32), (256, np.float16)])
def test_small_weights_stay_as_they_are(size: int, stored: type) -> None:
    weight = numpy_helper.from_array(np.ones(size, np.float32), "w")
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["z", "w"], ["y"])],
        "g",
        [info("z", TensorProto.FLOAT, [size])],
        [info("y", TensorProto.FLOAT, [size])],
        [weight],
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (kept,) = weights_of(store_weights_as_fp16(whole)).values()
    assert kept.dtype == stored


@pytest.mark.parametrize("n", [1, 2, 33])
def test_half_storage_makes_the_same_images(
    model: onnx.ModelProto, served: ServedGenerator, n: int
) -> None:
    made = File(store_weights_as_fp16(model))(some_latents(n))
    assert np.abs(made.astype(int) - torchs(served, n).astype(int)).max() <= 2


def test_parity_of_a_faithful_file(model: onnx.ModelProto, served: ServedGenerator) -> None:
    sizes: list[int] = []
    file = File(model)

    def counted(feeds: Feeds) -> NDArray[np.uint8]:
        sizes.append(len(feeds["z"]))
        return file(feeds["z"])

    parity = compare(served, counted, tolerance=1)
    assert parity.max_abs_error <= 1
    assert parity.differing_pixels < 0.001
    assert (parity.seeds, parity.batch_sizes) == (256, (1, 2, 7, 32))
    assert Counter(sizes) == {1: 256, 2: 128, 7: 36, 4: 1, 32: 8}


class Exact(torch.nn.Module):
    """Images of 3 x 4 pixels that are the same to the last bit in a batch of any size."""

    pixel_range = (0.0, 1.0)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return (z / 8 + 0.5).clamp(0.1, 0.9).reshape(-1, 1, 3, 4)


@pytest.mark.parametrize("tolerance", [0, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_parity_at_and_beyond_the_tolerance(tolerance: int, sign: int) -> None:
    served = ServedGenerator(Exact(), Z_DIM)

    def off_by(levels: int, feeds: Feeds) -> NDArray[np.uint8]:
        images: NDArray[np.uint8] = served(torch.from_numpy(feeds["z"])).numpy()
        images[:, 1, 2, 0] += np.uint8(sign * levels % 256)  # wraps round, far from 0 and 255
        return images

    parity = compare(served, lambda feeds: off_by(tolerance, feeds), tolerance)
    assert parity.max_abs_error == tolerance
    assert parity.differing_pixels == (round(1 / 12, 6) if tolerance else 0.0)
    message = (
        rf"^the exported graph differs from torch by {tolerance + 1} grey levels "
        rf"\(allowed: {tolerance}, share of pixels that differ: 8\.33%\); say so$"
    )
    with pytest.raises(ExportError, match=message):
        compare(served, lambda feeds: off_by(tolerance + 1, feeds), tolerance, "; say so")


def test_parity_finds_images_in_another_order(
    model: onnx.ModelProto, served: ServedGenerator
) -> None:
    file = File(model)
    with pytest.raises(ExportError, match=r"^the exported graph differs from torch by \d+ "):
        compare(served, lambda f: file(f["z"])[:: 1 if len(f["z"]) < 32 else -1], 2)
