"""Batches: balanced classes, mirrored images, several processes, and drawing ahead."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from torch import Tensor

from training.batches import BatchSource, order_of
from training.config import Recipe, load_recipe
from training.data import Images, ImageSet, to_range
from training.draws import BatchOrder, classes, flips, g_noise, noise
from training.errors import DatasetError, RecipeError
from training.image_files import ImageFiles
from training.steps import Draw

CPU = torch.device("cpu")
RANGE = (-1.0, 1.0)


def recipe(*overrides: str, name: str = "biggan-emnist") -> Recipe:
    """A recipe with batches of 8."""
    return load_recipe(name, ["batch_size=8", *overrides])


def numbered(n: int = 40, n_classes: int = 3) -> ImageSet:
    """Image i is i everywhere but in its left column, which is 0."""
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 4, 4)
    images[:, :, :, 0] = 0
    names = tuple("abcdefghij"[:n_classes])
    return ImageSet(images, torch.arange(n) % max(n_classes, 1), names)


def source(data: Images, *overrides: str, rank: int = 0, world_size: int = 1) -> BatchSource:
    """Batches of 8."""
    return BatchSource(recipe(*overrides), data, RANGE, CPU, rank, world_size)


def tensors(draw: Draw) -> list[Tensor]:
    """Everything in a draw."""
    return [t for part in (draw.real, draw.d_fake, draw.g_fake) for inputs in part for t in inputs]


def same(one: Draw, other: Draw) -> bool:
    """Whether two draws are equal to the last bit."""
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


def shown(images: Tensor) -> list[int]:
    """Which images of `numbered` these are."""
    return ((images.amax((1, 2, 3)) + 1) * 127.5).round().long().tolist()


def test_a_recipe_balances() -> None:
    labels = torch.tensor([0] * 36 + [1] * 2 + [2] * 2)
    data = ImageSet(numbered().images, labels, ("a", "b", "c"))
    for itr in range(10):
        for _, weights in source(data, "class_balanced=true").draw(itr).real:
            assert weights.sum(0).max() <= 3
            assert weights.sum(0).min() >= 2
    assert isinstance(order_of(recipe(), data), BatchOrder)
    chosen = source(data, "class_balanced=true").draw(0).real[0]
    assert labels[shown(chosen[0])].tolist() == chosen[1].argmax(1).tolist()


def test_images_without_classes_cannot_be_balanced() -> None:
    with pytest.raises(
        RecipeError,
        match=r"^class_balanced: the images have no classes; set class_balanced=false$",
    ):
        source(numbered(n_classes=0), "class_balanced=true")


def test_mirrored_images_are_the_same_ones() -> None:
    data = numbered()
    plain, mirrored = source(data), source(data, "flips=true")
    for itr in range(5):
        for i, (one, other) in enumerate(
            zip(plain.draw(itr).real, mirrored.draw(itr).real, strict=True)
        ):
            expected = one[0].clone()
            which = flips(1, 2 * itr + i, 8)
            expected[which] = torch.tensor(np.ascontiguousarray(expected[which].numpy()[..., ::-1]))
            assert 0 < which.sum() < 8
            assert torch.equal(other[0], expected)
            assert torch.equal(one[1], other[1])
        assert torch.equal(plain.draw(itr).d_fake[0][0], mirrored.draw(itr).d_fake[0][0])
    assert data.images[:, :, :, 0].sum() == 0  # the set itself is as it was


def test_draws_are_made_of_their_functions() -> None:
    """What runs that have begun depend on: counters, seeds and order of every draw."""
    data, chosen = numbered(), recipe("seed=11")
    draw, order = source(data, "seed=11").draw(6), BatchOrder(40, 8, 11)
    z_dim = chosen.network.z_dim
    for i, batch in enumerate((12, 13)):
        images, weights = draw.real[i]
        assert torch.equal(images, to_range(data.images[order.indices(batch)], RANGE))
        assert torch.equal(weights.argmax(1), data.labels[order.indices(batch)])
        z, weights = draw.d_fake[i]
        assert torch.equal(z, noise(11, batch, 8, z_dim))
        assert torch.equal(weights.argmax(1), classes(11, 2 * batch, 8, 3))
    z, weights = draw.g_fake[0]
    assert torch.equal(z, g_noise(11, 6, 8, z_dim))
    assert torch.equal(weights.argmax(1), classes(11, 13, 8, 3))


@pytest.mark.parametrize("overrides", [(), ("class_balanced=true", "flips=true")])
@pytest.mark.parametrize(("world_size", "accumulations"), [(2, 1), (4, 1), (2, 2), (1, 4)])
def test_processes_share_the_batch_of_one(
    overrides: tuple[str, ...], world_size: int, accumulations: int
) -> None:
    alone = source(numbered(), *overrides)
    them = [
        source(
            numbered(),
            f"accumulations={accumulations}",
            *overrides,
            rank=rank,
            world_size=world_size,
        )
        for rank in range(world_size)
    ]
    for itr in (0, 3):
        whole, parts = alone.draw(itr), [one.draw(itr) for one in them]
        for kind, updates in (("real", 2), ("d_fake", 2), ("g_fake", 1)):
            assert all(len(getattr(part, kind)) == updates * accumulations for part in parts)
            for update in range(updates):
                mine = slice(update * accumulations, (update + 1) * accumulations)
                for i, expected in enumerate(getattr(whole, kind)[update]):
                    rows = [inputs[i] for part in parts for inputs in getattr(part, kind)[mine]]
                    assert all(len(row) == 8 // world_size // accumulations for row in rows)
                    assert torch.equal(torch.cat(rows), expected)
    assert them[0].images_per_itr == alone.images_per_itr == 16


def test_a_process_decodes_its_own_rows_only() -> None:
    asked: list[Tensor] = []

    class Watched(ImageSet):
        def batch(self, indices: Tensor) -> Tensor:
            asked.append(indices)
            return super().batch(indices)

    plain = numbered()
    data = Watched(plain.images, plain.labels, plain.class_names)
    source(data, rank=1, world_size=4).draw(0)
    order = BatchOrder(40, 8, 1)
    assert [indices.tolist() for indices in asked] == [
        order.indices(batch)[2:4].tolist() for batch in (0, 1)
    ]


@pytest.mark.parametrize(
    ("overrides", "world_size", "message"),
    [
        (
            ("batch_size=64", "accumulations=3"),
            1,
            "batch_size 64 cannot be divided among 1 process with accumulations 3: it must be a "
            "multiple of 3, and at least 6, so that a part has 2 images",
        ),
        (
            ("batch_size=12",),
            8,
            "batch_size 12 cannot be divided among 8 processes with accumulations 1: it must be a "
            "multiple of 8, and at least 16, so that a part has 2 images",
        ),
        (
            ("batch_size=12", "accumulations=3"),
            4,
            "batch_size 12 cannot be divided among 4 processes with accumulations 3: it must be a "
            "multiple of 12, and at least 24, so that a part has 2 images",
        ),
    ],
)
def test_a_batch_that_cannot_be_divided(
    overrides: tuple[str, ...], world_size: int, message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        source(numbered(200), *overrides, world_size=world_size)
    assert str(caught.value) == message


def test_a_batch_that_can_just_be_divided() -> None:
    draw = source(
        numbered(), "batch_size=24", "accumulations=3", rank=3, world_size=4
    ).draw(0)  # fmt: skip
    assert [len(images) for images, _ in draw.real] == [2] * 6


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The images of `numbered`, in files."""
    for i, image in enumerate(numbered().images):
        folder = tmp_path / "abc"[i % 3]
        folder.mkdir(exist_ok=True)
        PilImage.fromarray(image[0].numpy()).save(folder / f"{i:02}.png")
    return tmp_path


def wait_for_threads(before: set[threading.Thread]) -> None:
    """Fails if threads that are not among `before` are still there after 5 s."""
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.005)


def test_decoded_as_needed_is_as_in_memory(files: Path) -> None:
    lazy = ImageFiles(files, resolution=4)
    held = ImageSet(lazy.all(), lazy.labels, lazy.class_names)
    options = ("class_balanced=true", "flips=true", "accumulations=2")
    ahead, at_once = source(lazy, *options), source(held, *options)
    for itr in (0, 1, 2, 30, 31, 5, 5, 6):  # in order, and as after a resume
        assert same(ahead.draw(itr), at_once.draw(itr))


def test_threads_end(files: Path) -> None:
    before = set(threading.enumerate())
    lazy = source(ImageFiles(files, resolution=4))
    for itr in range(3):
        lazy.draw(itr)
    wait_for_threads(before)  # although `lazy` is still there


def test_images_in_memory_need_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.prefetch.Thread", None)
    source(numbered()).draw(0)


def test_an_image_that_cannot_be_read_stops_the_run(files: Path) -> None:
    before = set(threading.enumerate())
    lazy = source(ImageFiles(files, resolution=4))
    lazy.draw(0)
    wait_for_threads(before)  # so that iteration 1 has been decoded, and 2 not yet
    for path in files.glob("*/*.png"):
        path.write_bytes(b"")
    lazy.draw(1)
    with pytest.raises(DatasetError, match=r": 8 of 8 images cannot be read, first [abc]/\d\d"):
        lazy.draw(2)
