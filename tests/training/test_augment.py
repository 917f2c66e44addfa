"""DiffAugment: each policy's effect and range, worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.training.small_biggan import CLASSES, shapes, small
from training.augment import diffaugment
from training.batches import BatchSource
from training.config import Recipe
from training.distributed import World
from training.networks import Subject
from training.state import TrainingState

ALL = ("color", "translation", "cutout")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def random_images(n: int = 64, channels: int = 3, side: int = 16) -> Tensor:
    """Uniform in [-1, 1]."""
    return torch.rand(n, channels, side, side) * 2 - 1


def test_without_policies_nothing_changes() -> None:
    images = random_images()
    assert diffaugment(images, ()) is images


def test_unknown_policy() -> None:
    with pytest.raises(
        ValueError, match=r"^unknown policy 'blur'; known: color, translation, cutout$"
    ):
        diffaugment(random_images(), ("color", "blur"))


@pytest.mark.parametrize("policies", [(policy,) for policy in ALL] + [ALL])
@pytest.mark.parametrize("shape", [(4, 1, 28, 28), (3, 3, 32, 24), (1, 3, 9, 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shape_and_dtype_stay(
    policies: tuple[str, ...], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    images = torch.rand(shape).to(dtype)
    before = images.clone()
    changed = diffaugment(images, policies)
    assert (changed.shape, changed.dtype) == (shape, dtype)
    assert not torch.equal(changed, images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("policies", [(policy,) for policy in ALL] + [ALL])
def test_gradients_are_those_of_finite_differences(policies: tuple[str, ...]) -> None:
    images = torch.rand(2, 3, 5, 5, dtype=torch.float64, requires_grad=True)

    def seeded(x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return diffaugment(x, policies)

    assert torch.autograd.gradcheck(seeded, (images,), fast_mode=True)
    assert torch.autograd.gradgradcheck(
        seeded, (images,), fast_mode=True
    )  # an R1 penalty may pass through


def test_the_global_seed_decides() -> None:
    images = random_images(4)
    torch.manual_seed(5)
    first = diffaugment(images, ALL)
    assert not torch.equal(diffaugment(images, ALL), first)
    torch.manual_seed(5)
    assert torch.equal(diffaugment(images, ALL), first)


def test_brightness_moves_an_even_image_by_up_to_a_half() -> None:
    even = torch.full((4000, 1, 2, 2), 0.25)  # one value: contrast leaves it as it is
    moved = diffaugment(even, ("color",))
    shift = (moved - even)[:, 0, 0, 0]
    assert torch.allclose(moved - even, shift[:, None, None, None].expand_as(even))
    assert -0.5 <= shift.min() < -0.49
    assert 0.49 < shift.max() <= 0.5
    assert shift.mean().abs() < 4 * (1 / 12 / 4000) ** 0.5


def test_contrast_of_grey_images_is_between_a_half_and_one_and_a_half() -> None:
    images = random_images(4000, channels=1, side=4)
    factors = diffaugment(images, ("color",)).std((1, 2, 3)) / images.std((1, 2, 3))
    assert 0.5 - 1e-3 < factors.min() < 0.51
    assert 1.49 < factors.max() < 1.5 + 1e-3
    assert (factors.mean() - 1).abs() < 4 * (1 / 12 / 4000) ** 0.5


def test_saturation_is_between_nothing_and_twice() -> None:
    """Colours beside those of another pixel, whose ratio contrast does not change."""
    images = torch.zeros(4000, 3, 1, 2)
    images[:, 0, 0, 0], images[:, 1, 0, 0], images[:, 2, 0, 0] = 0.3, 0.0, -0.3
    images[:, :, 0, 1] = 0.6  # grey: 0.6 above the first pixel's mean, whatever the saturation
    changed = diffaugment(images, ("color",))
    brightness = changed.mean(1)[:, 0, 1] - changed.mean(1)[:, 0, 0]
    factors = (changed[:, 0, 0, 0] - changed[:, 2, 0, 0]) / brightness
    assert -1e-5 < factors.min() < 0.01
    assert 1.99 < factors.max() < 2 + 1e-3
    assert (factors.mean() - 1).abs() < 4 * (1 / 3 / 4000) ** 0.5
    assert torch.allclose(changed[:, 0, 0, 1], changed[:, 2, 0, 1], atol=1e-6)  # grey stays grey


@pytest.mark.parametrize(("side", "most"), [(8, 1), (16, 2), (28, 4), (32, 4), (11, 1), (12, 2)])
def test_translation_is_by_up_to_an_eighth_each_way(side: int, most: int) -> None:
    image = torch.arange(1.0, side * side + 1).reshape(1, 1, side, side)
    moved = diffaugment(image.expand(600, 1, side, side), ("translation",))
    framed = torch.nn.functional.pad(image, (most,) * 4)[0, 0]
    seen = set()
    for one in moved[:, 0]:
        fits = [
            (y, x)
            for y in range(2 * most + 1)
            for x in range(2 * most + 1)
            if torch.equal(one, framed[y : y + side, x : x + side])
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) == (2 * most + 1) ** 2  # every shift, none farther


def test_translations_are_uniform() -> None:
    image = torch.arange(1.0, 65).reshape(1, 1, 8, 8).expand(9000, 1, 8, 8)
    corner = diffaugment(image, ("translation",))[:, 0, 4, 4].long()
    counts = corner.bincount()[corner.bincount() > 0]
    assert len(counts) == 9
    assert (counts - 1000).abs().max() < 5 * 1000**0.5


@pytest.mark.parametrize(("side", "cut"), [(8, 4), (6, 3), (5, 3)])
def test_cutout_is_a_square_of_half_the_side_around_any_pixel(side: int, cut: int) -> None:
    holes = diffaugment(torch.ones(3000, 1, side, side), ("cutout",))[:, 0] == 0
    centres = side + 1 - cut % 2  # positions of the centre: an even square has one more
    spans = {
        tuple(c - cut // 2 <= place < c - cut // 2 + cut for place in range(side))
        for c in range(centres)
    }
    for axis, other in ((1, 2), (2, 1)):
        lines = {tuple(line) for line in holes.any(other).tolist()}
        assert lines == spans, axis
    rows, columns = holes.any(2), holes.any(1)
    assert torch.equal(holes, rows[:, :, None] & columns[:, None, :])


def test_cutout_covers_all_channels_alike() -> None:
    changed = diffaugment(torch.ones(16, 3, 8, 8), ("cutout",))
    assert torch.equal(changed[:, 0], changed[:, 2])
    assert set(changed.flatten().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("policies", [(policy,) for policy in ALL] + [ALL])
def test_a_pixel_range_is_only_a_unit(policies: tuple[str, ...]) -> None:
    """What is done to [0, 1] is what is done to [-1, 1]; its background is 0.5 instead of 0."""
    images = random_images(16)
    torch.manual_seed(9)
    expected = (diffaugment(images, policies) + 1) / 2
    torch.manual_seed(9)
    changed = diffaugment((images + 1) / 2, policies, (0.0, 1.0))
    assert torch.allclose(changed, expected, atol=1e-6)


def test_policies_are_applied_in_order() -> None:
    """Colour after cutout reaches the hole; before, it does not."""
    images = torch.ones(32, 1, 8, 8)
    before, after = (
        diffaugment(images, policies) for policies in (("color", "cutout"), ("cutout", "color"))
    )
    assert (before == 0).flatten(1).any(1).all()
    assert not (after == 0).any()


def seen_by_d(recipe: Recipe, rank: int, itrs: list[int]) -> list[Tensor]:
    """What D gets in some iterations of one process, of batches that are the same in all."""
    cpu = torch.device("cpu")
    state = TrainingState(recipe, cpu, Subject(CLASSES, 1), World(rank))
    source = BatchSource(recipe, shapes(), (-1.0, 1.0), cpu)
    seen: list[Tensor] = []
    state.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for itr in itrs:
        state.step(source.draw(itr))
    return seen


def test_each_process_augments_in_its_own_way() -> None:
    recipe = small("diffaugment=[translation]", "d_steps=1", "optimizer.d_lr=1e-9")
    first, second = (seen_by_d(recipe, rank, [0, 1]) for rank in (0, 1))
    real = slice(0, recipe.batch_size)
    assert torch.equal(first[0][real], seen_by_d(recipe, 0, [0])[0][real])
    assert not torch.equal(first[0][real], second[0][real])
    # Going on at an iteration draws what was drawn there before, in every process.
    for rank, whole in enumerate((first, second)):
        assert torch.equal(whole[2][real], seen_by_d(recipe, rank, [1])[0][real])
    plain = small("d_steps=1")
    assert torch.equal(*(seen_by_d(plain, rank, [0])[0][real] for rank in (0, 1)))
