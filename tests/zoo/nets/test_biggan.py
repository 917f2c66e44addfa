"""BigGAN: sizes against published ones, shapes, and what an image and a logit depend on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from zoo.nets.biggan import WIDTHS, Discriminator, Generator, Shape
from zoo.nets.layers import StandingBatchNorm2d

TINY = Shape(32, 3, 2, 3, 8, 5, True, ())


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def one_hot(*classes: int) -> Tensor:
    return torch.eye(3)[list(classes)]


def arguments_of_blocks(generator: Generator) -> list[tuple[Tensor, ...]]:
    """What the first layer, then each block, is called with; filled when images are made."""
    seen: list[tuple[Tensor, ...]] = []
    for layer in (generator.linear, *generator.blocks):
        layer.register_forward_pre_hook(lambda _, given: seen.append(given))
    return seen


# Sizes


@pytest.mark.usefixtures("bare")
def test_cifar10_size_is_that_of_the_authors_code() -> None:
    shape = Shape(32, 3, 64, 10, 128, 0, False, ())
    assert count(Generator(shape)) == 4_304_387
    assert count(Discriminator(shape)) == 4_207_361


@pytest.mark.usefixtures("bare")
def test_imagenet_size_is_that_of_the_paper() -> None:
    shape = Shape(128, 3, 96, 1000, 120, 128, True, (64,))
    assert count(Generator(shape)) == 70_433_988
    assert count(Discriminator(shape)) == 87_982_370


def test_spectral_norm_has_no_parameters() -> None:
    assert count(Generator(TINY)) == count(Generator(replace(TINY, spectral_norm_g=False)))


@pytest.mark.parametrize("resolution", WIDTHS)
@pytest.mark.parametrize(("image_channels", "n_classes"), [(1, 0), (3, 0), (1, 3), (3, 3)])
def test_shapes(resolution: int, image_channels: int, n_classes: int) -> None:
    chunks = len(WIDTHS[resolution].generator)
    shape = Shape(resolution, image_channels, 1, n_classes, 2 * chunks, 4, True, ())
    generator, discriminator = Generator(shape).eval(), Discriminator(shape).eval()
    classes = (one_hot(0, 2),) if n_classes else ()
    with torch.no_grad():
        images = generator(torch.randn(2, 2 * chunks), *classes)
        assert images.shape == (2, image_channels, resolution, resolution)
        assert images.dtype == torch.float32
        assert -1 <= images.min() < images.max() <= 1
        assert discriminator(images, *classes).shape == (2,)


def test_sides_of_the_feature_maps() -> None:
    shape = Shape(64, 3, 1, 0, 10, 0, True, ())
    sides: list[int] = []
    generator, discriminator = Generator(shape).eval(), Discriminator(shape).eval()
    for block in (*generator.blocks, *discriminator.blocks):
        block.register_forward_hook(lambda *call: sides.append(call[2].shape[-1]))
    discriminator(generator(torch.randn(1, 10)))
    assert sides == [8, 16, 32, 64, 32, 16, 8, 4, 4]


@pytest.mark.usefixtures("bare")
def test_attention_follows_the_maps_of_its_side() -> None:
    shape = Shape(128, 3, 8, 0, 12, 0, True, (16, 64))
    generator, discriminator = Generator(shape), Discriminator(shape)
    assert {i: m.get_submodule("o").out_channels for i, m in generator.attentions.items()} == {
        "1": 8 * 8,
        "3": 8 * 2,
    }
    assert {i: m.get_submodule("o").out_channels for i, m in discriminator.attentions.items()} == {
        "0": 8 * 1,
        "2": 8 * 4,
    }


# Conditions


def test_a_chunk_of_z_reaches_its_block_alone() -> None:
    generator = Generator(TINY).eval()
    seen = arguments_of_blocks(generator)
    z, classes = torch.randn(2, 8), one_hot(0, 2)
    assert generator.embedding is not None
    with torch.no_grad():
        generator(z, classes)
        embedded = generator.embedding.weight[[0, 2]]
    (first,), *blocks = seen
    assert torch.equal(first, z[:, :2])
    for i, block in enumerate(blocks, start=1):
        assert torch.equal(block[1], torch.cat((z[:, 2 * i : 2 * i + 2], embedded), 1))


@pytest.mark.parametrize("chunk", range(4))
def test_a_chunk_changes_nothing_before_its_block(chunk: int) -> None:
    generator = Generator(TINY).eval()
    outputs: list[Tensor] = []
    for layer in (generator.linear, *generator.blocks):
        layer.register_forward_hook(lambda *call: outputs.append(call[2]))
    z, classes = torch.randn(2, 8), one_hot(0, 2)
    moved = z.clone()
    moved[:, 2 * chunk] += 1
    with torch.no_grad():
        generator(z, classes)
        generator(moved, classes)
    same = [torch.equal(a, b) for a, b in zip(outputs[:4], outputs[4:], strict=True)]
    assert same == [True] * chunk + [False] * (4 - chunk)


def test_z_in_one_piece_reaches_the_first_layer_alone() -> None:
    generator = Generator(replace(TINY, hierarchical_z=False)).eval()
    seen = arguments_of_blocks(generator)
    z, classes = torch.randn(2, 8), one_hot(1, 2)
    assert generator.embedding is not None
    with torch.no_grad():
        generator(z, classes)
        assert torch.equal(seen[0][0], z)
        for _, condition, _ in seen[1:]:
            assert torch.equal(condition, generator.embedding.weight[[1, 2]])


def test_without_shared_embedding_batch_norms_see_the_classes() -> None:
    generator = Generator(replace(TINY, shared_dim=0, hierarchical_z=False)).eval()
    assert generator.embedding is None
    seen = arguments_of_blocks(generator)
    with torch.no_grad():
        generator(torch.randn(2, 8), one_hot(1, 2))
    for _, condition, _ in seen[1:]:
        assert torch.equal(condition, one_hot(1, 2))


def test_a_mixture_of_classes_mixes_their_embeddings() -> None:
    generator = Generator(TINY).eval()
    seen = arguments_of_blocks(generator)
    assert generator.embedding is not None
    with torch.no_grad():
        generator(torch.randn(1, 8), torch.tensor([[0.25, 0.0, 0.75]]))
        weight = generator.embedding.weight
        torch.testing.assert_close(seen[1][1][0, 2:], 0.25 * weight[0] + 0.75 * weight[2])


def test_without_conditions_batch_norm_is_a_plain_one() -> None:
    shape = replace(TINY, n_classes=0, hierarchical_z=False)
    generator = Generator(shape)
    assert not any("gain" in key for key in generator.state_dict())
    norms = [m for m in generator.modules() if isinstance(m, StandingBatchNorm2d)]
    assert len(norms) == 7
    assert all(norm.affine for norm in norms)
    generator.eval()
    knots = torch.tensor([[0.0, 1.0]])
    z = torch.randn(1, 8)
    with torch.no_grad():
        plain = generator(z)
        for norm in norms:
            norm.tabulate(
                torch.tensor([[9.0], [0.0]]).expand(2, norm.num_features),
                torch.ones(2, norm.num_features),
            )
        torch.testing.assert_close(generator(z, None, knots), plain)


# Logits


@pytest.mark.parametrize("n_classes", [0, 3])
def test_logit_is_a_projection(n_classes: int) -> None:
    discriminator = Discriminator(replace(TINY, n_classes=n_classes)).eval()
    last: list[Tensor] = []
    discriminator.blocks[-1].register_forward_hook(lambda *call: last.append(call[2]))
    images, classes = torch.randn(2, 3, 32, 32), one_hot(2, 0)
    with torch.no_grad():
        logits = discriminator(images, classes) if n_classes else discriminator(images)
        phi = last[0].clamp(min=0).sum((2, 3))
        weight, bias = discriminator.linear.weight, discriminator.linear.bias
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        for i, label in enumerate((2, 0)):
            expected = weight[0] @ phi[i] + bias[0]
            if discriminator.embedding is not None:
                rows = discriminator.embedding.weight
                assert isinstance(rows, Tensor)
                expected = expected + rows[label] @ phi[i]
            torch.testing.assert_close(logits[i], expected, rtol=1e-4, atol=1e-4)


# Errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 48}, "resolution 48: must be one of 28, 32, 64, 128, 256, 512"),
        (
            {"z_dim": 9},
            "z_dim 9: hierarchical z of 32 px needs a multiple of 4, one chunk for the first layer "
            "and one for each block",
        ),
        ({"attention": (4,)}, "attention at (4,): the feature maps have sides [8, 16, 32]"),
        ({"attention": (8, 64)}, "attention at (8, 64): the feature maps have sides [8, 16, 32]"),
    ],
)
def test_shapes_that_no_network_has(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        replace(TINY, **changes)  # type: ignore[arg-type]  # one table for fields of several types
    assert str(caught.value) == message


def test_shapes_at_the_limits() -> None:
    assert replace(TINY, z_dim=9, hierarchical_z=False).z_dim == 9
    assert replace(TINY, z_dim=12).z_dim == 12
    assert replace(TINY, attention=(8, 16, 32)).attention == (8, 16, 32)
