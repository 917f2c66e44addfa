"""BigGAN-deep: sizes against published ones, shapes, blocks by hand, conditions, errors."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.nets.biggan_deep import (
    WIDTHS,
    Discriminator,
    DiscriminatorBlock,
    Generator,
    GeneratorBlock,
    Shape,
)
from zoo.nets.layers import ConditionalBatchNorm2d, fold_spectral_norm

TINY = Shape(32, 3, 4, 3, 6, 5, ())
IMAGENET = Shape(128, 3, 128, 1000, 128, 128, (64,))


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def one_hot(*classes: int) -> Tensor:
    return torch.eye(3)[list(classes)]


# Sizes


def bottleneck(wide: int, out: int, hidden: int) -> int:
    """Weights and biases of the four convolutions of a block."""
    return (wide * hidden + hidden) + 2 * (9 * hidden * hidden + hidden) + (hidden * out + out)


def attention(features: int) -> int:
    return 2 * features * features // 8 + 2 * features * features // 2 + 1


def generator_size(channels: list[int], attended: int) -> int:
    """From the paper's tables; `channels` before the first pair of blocks, then after each."""
    total = 1000 * 128 + (256 + 1) * 16 * channels[0] + attention(attended)
    for wide, out in pairwise(channels):
        for before, after in ((wide, wide), (wide, out)):
            hidden = before // 4
            total += bottleneck(before, after, hidden) + 2 * 256 * (before + 3 * hidden)
    return total + 2 * channels[-1] + (9 * channels[-1] + 1) * 3


def discriminator_size(channels: list[int], attended: int) -> int:
    total = (9 * 3 + 1) * channels[0] + attention(attended)
    for wide, out in pairwise(channels):
        total += bottleneck(wide, out, out // 4) + (wide + 1) * (out - wide)
        total += bottleneck(out, out, out // 4)
    return total + channels[-1] + 1 + 1000 * channels[-1]


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("resolution", "generator", "discriminator", "attended", "published"),
    [
        (128, [16, 16, 8, 4, 2, 1], [1, 2, 4, 8, 16, 16], 2, (50.4, 34.6)),
        (256, [16, 16, 8, 8, 4, 2, 1], [1, 2, 4, 8, 8, 16, 16], 4, (55.9, None)),
        (512, [16, 16, 8, 8, 4, 2, 1, 1], [1, 1, 2, 4, 8, 8, 16, 16], 4, (56.2, None)),
    ],
)
def test_sizes_are_those_of_the_paper(
    resolution: int,
    generator: list[int],
    discriminator: list[int],
    attended: int,
    published: tuple[float, float | None],
) -> None:
    shape = replace(IMAGENET, resolution=resolution)
    sizes = count(Generator(shape)), count(Discriminator(shape))
    assert sizes == (
        generator_size([128 * width for width in generator], 128 * attended),
        discriminator_size([128 * width for width in discriminator], 128 * attended),
    )
    # The published generators compute 128 colour channels and drop all but three.
    dropped = (128 - 3) * (9 * 128 + 1)
    assert round((sizes[0] + dropped) / 1e6, 1) == published[0]
    if published[1] is not None:
        assert round(sizes[1] / 1e6, 1) == published[1]


@pytest.mark.parametrize("resolution", WIDTHS)
@pytest.mark.parametrize(("image_channels", "n_classes"), [(1, 0), (3, 3)])
def test_shapes(resolution: int, image_channels: int, n_classes: int) -> None:
    shape = Shape(resolution, image_channels, 4, n_classes, 6, 4, ())
    generator, discriminator = Generator(shape).eval(), Discriminator(shape).eval()
    classes = (one_hot(2),) if n_classes else ()
    with torch.no_grad():
        images = generator(torch.randn(1, 6), *classes)
        assert images.shape == (1, image_channels, resolution, resolution)
        assert images.dtype == torch.float32
        assert -1 <= images.min() < images.max() <= 1
        assert discriminator(images, *classes).shape == (1,)


def test_sides_of_the_feature_maps() -> None:
    shape = Shape(64, 3, 4, 0, 6, 4, ())
    sides: list[int] = []
    generator, discriminator = Generator(shape).eval(), Discriminator(shape).eval()
    for block in (*generator.blocks, *discriminator.blocks):
        block.register_forward_hook(lambda *call: sides.append(call[2].shape[-1]))
    with torch.no_grad():
        discriminator(generator(torch.randn(1, 6)))
    assert sides[:8] == [4, 8, 8, 16, 16, 32, 32, 64]
    assert sides[8:] == [32, 32, 16, 16, 8, 8, 4, 4]


@pytest.mark.usefixtures("bare")
def test_attention_follows_the_maps_of_its_side() -> None:
    shape = Shape(128, 3, 8, 0, 6, 4, (16, 64))
    networks = Generator(shape), Discriminator(shape)
    found = [
        {i: m.get_submodule("o").out_channels for i, m in network.attentions.items()}
        for network in networks
    ]
    assert found == [{"3": 64, "7": 16}, {"1": 16, "5": 64}]


# Blocks


def convolved(x: Tensor, layer: nn.Module) -> Tensor:
    """By a product for 1x1 kernels, by shifts for 3x3 ones."""
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    if weight.shape[-1] == 1:
        out = torch.einsum("oc,nchw->nohw", weight[:, :, 0, 0], x)
    else:
        height, width, padded = *x.shape[2:], F.pad(x, (1, 1, 1, 1))
        out = torch.zeros(())
        for i in range(3):
            for j in range(3):
                shifted = padded[:, :, i : i + height, j : j + width]
                out = out + torch.einsum("oc,nchw->nohw", weight[:, :, i, j], shifted)
    return out + bias[:, None, None]


@pytest.mark.parametrize(("out", "up"), [(16, False), (16, True), (8, True), (8, False)])
def test_generator_block(*, out: int, up: bool) -> None:
    block = GeneratorBlock(16, out, 5, up, spectral=False)
    x, condition = torch.randn(2, 16, 4, 4), torch.randn(2, 5)
    with torch.no_grad():
        h = x
        for i, (norm, conv) in enumerate(zip(block.norms, block.convs, strict=True)):
            assert isinstance(norm, ConditionalBatchNorm2d)
            mean, deviation = h.mean((0, 2, 3)), (h.var((0, 2, 3), correction=0) + 1e-5).sqrt()
            h = (h - mean[:, None, None]) / deviation[:, None, None]
            gain, bias = (m.get_parameter("weight") for m in (norm.gain, norm.bias))
            h = h * (1 + condition @ gain.t())[:, :, None, None]
            h = (h + (condition @ bias.t())[:, :, None, None]).clamp(min=0)
            if up and i == 1:
                h = h.repeat_interleave(2, 2).repeat_interleave(2, 3)
            h = convolved(h, conv)
        skip = x[:, :out]
        if up:
            skip = skip.repeat_interleave(2, 2).repeat_interleave(2, 3)
        torch.testing.assert_close(block(x, condition), h + skip, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("out", "down"), [(8, False), (8, True), (16, True), (16, False)])
def test_discriminator_block(*, out: int, down: bool) -> None:
    block = DiscriminatorBlock(8, out, down)
    fold_spectral_norm(block)

    def pooled(x: Tensor) -> Tensor:
        return x.reshape(2, -1, 2, 2, 2, 2).mean((3, 5)) if down else x

    x = torch.randn(2, 8, 4, 4)
    with torch.no_grad():
        h = x
        for conv in (block.conv1, block.conv2, block.conv3):
            h = convolved(h.clamp(min=0), conv)
        expected = convolved(pooled(h.clamp(min=0)), block.conv4)
        expected[:, :8] += pooled(x)
        if block.more is not None:
            expected[:, 8:] += convolved(pooled(x), block.more)
        assert (block.more is None) == (out == 8)
        torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)


# Conditions


def test_the_whole_condition_reaches_the_first_layer_and_every_block() -> None:
    generator = Generator(TINY).eval()
    seen: list[Tensor] = []
    generator.linear.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for block in generator.blocks:
        block.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    z, classes = torch.randn(2, 6), torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    assert generator.embedding is not None
    with torch.no_grad():
        generator(z, classes)
        rows = generator.embedding.weight
        expected = torch.cat((z, torch.stack((rows[1], (rows[0] + rows[2]) / 2))), 1)
    assert len(seen) == 7
    for condition in seen:
        torch.testing.assert_close(condition, expected)


def test_without_classes_the_condition_is_z() -> None:
    generator = Generator(replace(TINY, n_classes=0, shared_dim=0)).eval()
    assert generator.embedding is None
    seen: list[Tensor] = []
    for block in generator.blocks:
        block.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    z = torch.randn(2, 6)
    with torch.no_grad():
        generator(z)
    assert len(seen) == 6
    assert all(torch.equal(condition, z) for condition in seen)


@pytest.mark.parametrize("n_classes", [0, 3])
def test_logit_is_a_projection(n_classes: int) -> None:
    discriminator = Discriminator(replace(TINY, n_classes=n_classes))
    fold_spectral_norm(discriminator)
    last: list[Tensor] = []
    discriminator.blocks[-1].register_forward_hook(lambda *call: last.append(call[2]))
    images, classes = torch.randn(2, 3, 32, 32), one_hot(2, 0)
    with torch.no_grad():
        logits = discriminator(images, classes) if n_classes else discriminator(images)
        phi = last[0].clamp(min=0).sum((2, 3))
        linear = discriminator.linear
        expected = phi @ linear.get_parameter("weight")[0] + linear.get_parameter("bias")
        if discriminator.embedding is not None:
            expected += (phi * discriminator.embedding.get_parameter("weight")[[2, 0]]).sum(1)
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


# Errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 28}, "resolution 28: must be one of 32, 64, 128, 256, 512"),
        ({"ch": 6}, "ch 6: must be a multiple of 4, for blocks that narrow to a quarter"),
        ({"ch": 0}, "ch 0: must be a multiple of 4, for blocks that narrow to a quarter"),
        ({"shared_dim": 0}, "shared_dim 0: must be at least 1 where classes are"),
        ({"attention": (4,)}, "attention at (4,): the feature maps have sides [8, 16, 32]"),
        ({"attention": (8, 64)}, "attention at (8, 64): the feature maps have sides [8, 16, 32]"),
    ],
)
def test_shapes_that_no_network_has(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        replace(TINY, **changes)  # type: ignore[arg-type]  # one table for fields of several types
    assert str(caught.value) == message


def test_shapes_at_the_limits() -> None:
    assert replace(TINY, ch=8).ch == 8
    assert replace(TINY, shared_dim=1).shared_dim == 1
    assert replace(TINY, n_classes=0, shared_dim=0).shared_dim == 0
    assert replace(TINY, attention=(8, 16, 32)).attention == (8, 16, 32)
