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
from training.draws import BalancedOrder, BatchOrder, classes, flips, g_noise, noise
from training.errors import DatasetError, RecipeError
from training.image_files import ImageFiles
from training.prefetch import Prefetched
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


# Class balance


@pytest.mark.parametrize(
    ("sizes", "batch_size"),
    [([5, 50, 9], 8), ([5, 50, 9], 9), ([5, 50, 9], 2), ([1, 60], 7), ([30], 8), ([9] * 47, 64)],
)
def test_every_class_comes_equally_often(sizes: list[int], batch_size: int) -> None:
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    order, n = BalancedOrder(labels, batch_size, seed=3), len(sizes)
    assert order.batches_per_epoch == sum(sizes) // batch_size
    total = torch.zeros(n, dtype=torch.int64)
    for batch in range(60):
        chosen = order.indices(batch)
        assert (chosen.shape, chosen.dtype) == ((batch_size,), torch.int64)
        counts = labels[chosen].bincount(minlength=n)
        assert set(counts.tolist()) <= {batch_size // n, -(-batch_size // n)}
        total += counts
        assert total.max() - total.min() <= 1  # over all batches so far as well


def test_a_class_shows_all_its_images_before_it_shows_one_again() -> None:
    labels = torch.tensor([0] * 5 + [1] * 20 + [2] * 7)
    order = BalancedOrder(labels, 8, seed=3)
    seen = torch.cat([order.indices(batch) for batch in range(100)])
    for label, size in enumerate((5, 20, 7)):
        # Rows are shuffled within a batch, so counts are compared and not the order.
        counts = seen[labels[seen] == label].bincount(minlength=len(labels))
        of_class = counts[labels == label]
        assert of_class.sum() == (labels[seen] == label).sum()
        assert of_class.max() - of_class.min() <= 1
        assert len(of_class) == size


def test_epochs_of_a_class_are_in_other_orders() -> None:
    order = BalancedOrder(torch.zeros(16, dtype=torch.int64), 16, seed=3)
    epochs = [order.indices(batch).tolist() for batch in range(3)]
    assert all(sorted(epoch) == list(range(16)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_rows_do_not_tell_the_class() -> None:
    labels = torch.arange(4).repeat_interleave(25)
    order = BalancedOrder(labels, 8, seed=3)
    firsts = torch.stack([labels[order.indices(batch)] for batch in range(400)])[:, 0]
    assert (firsts.bincount(minlength=4) - 100).abs().max() < 5 * 100**0.5


def test_balanced_order_is_a_function_of_seed_and_batch() -> None:
    labels = torch.tensor([0, 1, 1, 2, 2, 2, 0, 1, 2, 2] * 3)
    forwards = BalancedOrder(labels, 7, seed=5)
    expected = [forwards.indices(batch).clone() for batch in range(30)]
    jumping = BalancedOrder(labels, 7, seed=5)
    for batch in (29, 0, 12, 3, 3, 28, 1):
        assert torch.equal(jumping.indices(batch), expected[batch])
        assert torch.equal(BalancedOrder(labels, 7, seed=5).indices(batch), expected[batch])
    assert not torch.equal(BalancedOrder(labels, 7, seed=6).indices(0), expected[0])


def test_classes_without_images_are_left_out() -> None:
    labels = torch.tensor([0, 4, 4, 4, 0, 4, 4, 4])
    assert labels[BalancedOrder(labels, 4, seed=1).indices(0)].bincount().tolist() == [
        2, 0, 0, 0, 2,
    ]  # fmt: skip


def test_fewer_images_than_a_balanced_batch() -> None:
    labels = torch.zeros(15, dtype=torch.int64)
    with pytest.raises(DatasetError, match=r"^15 images are fewer than one batch of 16$"):
        BalancedOrder(labels, 16, seed=1)
    assert BalancedOrder(labels, 15, seed=1).batches_per_epoch == 1


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


# Mirrored images


def test_half_of_the_images_are_mirrored() -> None:
    mirrored = torch.stack([flips(1, batch, 100) for batch in range(100)])
    assert mirrored.dtype == torch.bool
    assert abs(mirrored.float().mean() - 0.5) < 4 * 0.5 / 100
    assert torch.equal(mirrored[7], flips(1, 7, 100))
    assert not torch.equal(mirrored[7], flips(2, 7, 100))
    assert len({tuple(batch) for batch in mirrored.tolist()}) == 100
    flips(2**63 - 1, 2**63, 1)  # the largest of both


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


# What has always been drawn


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


def test_first_numbers_of_every_stream() -> None:
    """Written down, so that no change of the streams goes unnoticed."""
    assert BatchOrder(1000, 4, 1).indices(0).tolist() == [993, 572, 321, 731]
    assert noise(1, 0, 1, 3)[0].tolist() == pytest.approx([1.1197171, -1.2581526, 0.7917979])
    assert g_noise(1, 0, 1, 3)[0].tolist() == pytest.approx([0.4710963, -0.9052396, 0.8414898])
    assert classes(1, 0, 6, 47).tolist() == [5, 14, 0, 23, 14, 37]
    assert flips(1, 0, 8).int().tolist() == [0, 1, 0, 1, 0, 1, 0, 0]
    assert BalancedOrder(torch.arange(1000) % 10, 4, 1).indices(0).tolist() == [149, 843, 434, 782]


# Several processes


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


# Drawing ahead


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


def test_the_next_value_is_computed_before_it_is_asked_for() -> None:
    computed: list[int] = []
    began = threading.Event()

    def square(itr: int) -> int:
        computed.append(itr)
        if itr == 4:
            began.set()
        return itr * itr

    ahead = Prefetched(square)
    assert ahead(3) == 9
    assert began.wait(5)
    assert ahead(4) == 16
    wait_for_threads({t for t in threading.enumerate() if "prefetch" not in t.name})
    assert computed == [3, 4, 5]  # 4 once
    assert ahead(8) == 64  # not the one that was expected
    assert ahead(9) == 81


def test_an_error_comes_with_its_own_iteration() -> None:
    def fail_at_2(itr: int) -> int:
        if itr == 2:
            raise DatasetError("2 is broken")
        return itr

    ahead = Prefetched(fail_at_2)
    assert [ahead(itr) for itr in (0, 1)] == [0, 1]
    with pytest.raises(DatasetError, match=r"^2 is broken$"):
        ahead(2)
    with pytest.raises(DatasetError, match=r"^2 is broken$"):
        ahead(2)
    assert ahead(1) == 1  # 2 fails in the thread, where nobody needs it
    assert ahead(7) == 7


def test_never_two_at_once() -> None:
    running: list[int] = []
    most: list[int] = []

    def slow(itr: int) -> int:
        running.append(itr)
        most.append(len(running))
        time.sleep(0.01)
        running.remove(itr)
        return itr

    ahead = Prefetched(slow)
    for itr in (0, 1, 9, 3, 4):
        assert ahead(itr) == itr
    assert set(most) == {1}
