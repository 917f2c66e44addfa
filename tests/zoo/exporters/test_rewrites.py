"""Rewritten generators make what the plain ones make.

In double precision rounding is out of the way: there they agree to 1e-10, so the rewrites are the
same functions. Images of exported files agree to one grey level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.zoo.exporters.networks import Z_DIM, big_gan, big_gan_deep, dc_gan
from zoo.exporters.graph import ServedGenerator, trace
from zoo.exporters.parity import Feeds, compare, example_feeds
from zoo.exporters.rewrites import REWRITES, plain, rewritten

_N = 4


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def floats(served: ServedGenerator) -> Tensor:
    """Images float64 before they are quantised, of mixtures and rows of statistics at random."""
    random = torch.Generator().manual_seed(5)

    def convex(n: int) -> Tensor:
        return torch.rand(_N, n, generator=random, dtype=torch.float64).softmax(1)

    z = torch.randn(_N, served.z_dim, generator=random, dtype=torch.float64)
    arguments: list[Tensor | None] = [z]
    if served.n_classes or served.n_knots:
        arguments.append(convex(served.n_classes) if served.n_classes else None)
    if served.n_knots:
        arguments.append(convex(served.n_knots))
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "float", lambda x: x)  # the networks end in fp32
        images: Tensor = served.generator(*arguments)
    assert images.dtype == torch.float64
    return images


def assert_same(served: ServedGenerator) -> None:
    served.double()
    expected = floats(plain(served))
    assert expected.std(0).mean() > 0.005  # there is something to see,
    assert (expected.abs() < 0.999).double().mean() > 0.5  # and tanh does not hide it
    torch.testing.assert_close(floats(rewritten(served)), expected, rtol=0, atol=1e-10)


@given(
    st.sampled_from([(28, 8), (28, 32), (32, 8)]),
    st.sampled_from([1, 3]),
    st.sampled_from([(0, 0), (0, 5), (3, 0), (3, 5)]),
    st.booleans(),
    st.sets(st.integers(1, 3)),
    st.sampled_from([0, 2, 5]),
)
@settings(max_examples=60, deadline=None)
def test_biggan(
    size: tuple[int, int],
    channels: int,
    classes: tuple[int, int],
    hierarchical_z: bool,
    attention: set[int],
    n_knots: int,
) -> None:
    (resolution, ch), (n_classes, shared_dim) = size, classes
    sides = {28: [14, 28, 28], 32: [8, 16, 32]}[resolution]
    assert_same(
        big_gan(
            resolution=resolution,
            channels=channels,
            ch=ch,
            n_classes=n_classes,
            shared_dim=shared_dim,
            hierarchical_z=hierarchical_z,
            attention=tuple({sides[i - 1] for i in attention}),
            n_knots=n_knots,
        )
    )


@given(
    st.sampled_from([8, 32]),
    st.sampled_from([0, 3]),
    st.sets(st.sampled_from([8, 16, 32])),
    st.sampled_from([0, 5]),
)
@settings(max_examples=20, deadline=None)
def test_biggan_deep(ch: int, n_classes: int, attention: set[int], n_knots: int) -> None:
    assert_same(
        big_gan_deep(ch=ch, n_classes=n_classes, attention=tuple(attention), n_knots=n_knots)
    )


@pytest.mark.parametrize("channels", [(8, 6, 4), (64, 32, 31), (64, 40, 32)])
@pytest.mark.parametrize("linear_batch_norm", [True, False])
def test_dcgan(*, linear_batch_norm: bool, channels: tuple[int, int, int]) -> None:
    assert_same(dc_gan(linear_batch_norm=linear_batch_norm, channels=channels))


def run(served: ServedGenerator) -> Callable[[Feeds], NDArray[np.uint8]]:
    """A generator, exported and loaded."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        trace(served).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def call(feeds: Feeds) -> NDArray[np.uint8]:
        images: NDArray[np.uint8] = session.run(["images"], feeds)[0]
        return images

    return call


@pytest.mark.parametrize(
    "make",
    [
        lambda: big_gan(ch=16, resolution=32, channels=3, attention=(32,)),
        lambda: big_gan(ch=32, hierarchical_z=False, shared_dim=0),
        lambda: big_gan(n_classes=0, n_knots=0, hierarchical_z=False),
        lambda: big_gan_deep(ch=32, attention=(16,)),
        lambda: dc_gan(channels=(64, 40, 32)),
    ],
    ids=["attention at the end", "embeddings of their own", "static", "deep", "dcgan"],
)
def test_exported_files_agree_with_the_network(make: Callable[[], ServedGenerator]) -> None:
    served = make()
    parity = compare(served, run(rewritten(served)), tolerance=1)
    assert parity.differing_pixels < 0.001
    expected = served(*map(torch.from_numpy, example_feeds(served, 33).values()))
    assert int(expected.max()) - int(expected.min()) > 60  # there is something to see


def test_plain_files_agree_with_the_network() -> None:
    served = big_gan(attention=(14,))
    assert compare(served, run(plain(served)), tolerance=1).differing_pixels < 0.001


def operators(served: ServedGenerator) -> list[str]:
    return [node.op_type for node in trace(served).graph.node]


def test_plain_graph_is_as_the_paper_draws_it() -> None:
    found = operators(plain(big_gan(ch=32)))
    assert found.count("Resize") == 4  # before the convolution and before the shortcut
    assert "ConvTranspose" not in found
    assert "BatchNormalization" not in found


def test_rewritten_graph() -> None:
    found = operators(rewritten(big_gan(ch=32)))
    assert found.count("Resize") == 2  # of the shortcuts alone
    assert found.count("ConvTranspose") == 1  # the last convolution
    assert found.count("Conv") == 2 * (4 + 1 + 1)  # a block: phases, second convolution, shortcut
    assert found.count("BatchNormalization") == 5
    assert found.count("Gemm") == 1 + 2  # the first layer, and gains and biases of each block


def test_narrow_layers_stay_transposed() -> None:
    assert operators(rewritten(big_gan(ch=8))).count("ConvTranspose") == 1 + 2


def test_the_original_is_left_alone() -> None:
    served = big_gan(ch=32)
    before = {name: value.clone() for name, value in served.state_dict().items()}
    kinds = [type(layer) for layer in served.modules()]
    rewritten(served)
    plain(served)
    assert [type(layer) for layer in served.modules()] == kinds
    assert all(torch.equal(before[name], value) for name, value in served.state_dict().items())


@pytest.mark.parametrize("name", REWRITES)
def test_each_rewrite_alone_changes_nothing(name: str) -> None:
    served = big_gan(ch=32, attention=(14,)).double()
    changed = plain(served)
    changed.generator = REWRITES[name](changed.generator)
    torch.testing.assert_close(floats(changed), floats(plain(served)), rtol=0, atol=1e-10)


def test_networks_that_no_rewrite_knows() -> None:
    class Other(nn.Module):
        pixel_range = (0.0, 1.0)

        def forward(self, z: Tensor) -> Tensor:
            return z[:, None, None]

    served = ServedGenerator(Other(), Z_DIM).eval()
    z = torch.rand(2, Z_DIM)
    assert torch.equal(rewritten(served)(z), served(z))
