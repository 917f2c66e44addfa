"""Orders of images, plain and balanced, latents, classes and flips: draws without a state."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.draws import BalancedOrder, BatchOrder, classes, flips, g_noise, noise
from training.errors import DatasetError


@pytest.mark.parametrize(("n", "size"), [(10, 10), (23, 5), (24, 4), (7, 2)])
def test_each_image_comes_at_most_once_an_epoch(n: int, size: int) -> None:
    order = BatchOrder(n, size, seed=3)
    assert order.batches_per_epoch == n // size
    epochs = []
    for epoch in range(3):
        first = epoch * order.batches_per_epoch
        batches = [order.indices(first + i) for i in range(order.batches_per_epoch)]
        assert all(batch.shape == (size,) and batch.dtype == torch.int64 for batch in batches)
        seen = torch.cat(batches).tolist()
        assert len(set(seen)) == len(seen) == n // size * size
        assert set(seen) <= set(range(n))
        epochs.append(seen)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_dropped_images_differ_between_epochs() -> None:
    order = BatchOrder(23, 5, seed=3)
    seen = {int(i) for itr in range(8 * 4) for i in order.indices(itr)}
    assert seen == set(range(23))


def test_order_depends_on_the_seed() -> None:
    one, other = BatchOrder(1000, 100, seed=1), BatchOrder(1000, 100, seed=2)
    assert not torch.equal(one.indices(0), other.indices(0))


def test_order_is_a_function_of_the_iteration() -> None:
    forwards = BatchOrder(50, 16, seed=5)
    expected = [forwards.indices(itr).clone() for itr in range(12)]
    jumping = BatchOrder(50, 16, seed=5)
    for itr in (11, 0, 5, 3, 3, 10, 1):
        assert torch.equal(jumping.indices(itr), expected[itr])
        assert torch.equal(BatchOrder(50, 16, seed=5).indices(itr), expected[itr])


def test_order_is_random() -> None:
    order = BatchOrder(10_000, 10_000, seed=1).indices(0).numpy()
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.04


def test_fewer_images_than_a_batch() -> None:
    with pytest.raises(DatasetError, match=r"^15 images are fewer than one batch of 16$"):
        BatchOrder(15, 16, seed=1)
    assert BatchOrder(16, 16, seed=1).batches_per_epoch == 1


def test_noise_is_a_function_of_seed_and_iteration() -> None:
    z = noise(1, 7, 4, 10)
    assert (z.shape, z.dtype) == ((4, 10), torch.float32)
    assert torch.equal(z, noise(1, 7, 4, 10))
    assert not torch.equal(z, noise(2, 7, 4, 10))
    assert not torch.equal(z, noise(1, 8, 4, 10))
    noise(2**63 - 1, 2**63, 1, 1)  # the largest of both


def test_noise_is_standard_normal() -> None:
    z = torch.cat([noise(1, itr, 100, 100) for itr in range(20)]).double().flatten()
    n = len(z)
    assert abs(z.mean()) < 4 / n**0.5
    assert abs(z.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((z**4).mean() - 3) < 4 * (96 / n) ** 0.5
    assert len(set(z.tolist())) > 0.9 * n  # no iteration repeats another's stream


def test_noise_of_neighbouring_iterations_is_independent() -> None:
    one, other = noise(1, 5, 100, 100).flatten(), noise(1, 6, 100, 100).flatten()
    assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 0.04


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
    order = BalancedOrder(torch.zeros(16, dtype=torch.int64), 8, seed=3)
    halves = [set(order.indices(batch).tolist()) for batch in range(6)]
    for first, second in zip(halves[::2], halves[1::2], strict=True):
        assert first | second == set(range(16))
    assert halves[0] != halves[2] != halves[4] != halves[0]


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


def test_half_of_the_images_are_mirrored() -> None:
    mirrored = torch.stack([flips(1, batch, 100) for batch in range(100)])
    assert mirrored.dtype == torch.bool
    assert abs(mirrored.float().mean() - 0.5) < 4 * 0.5 / 100
    assert torch.equal(mirrored[7], flips(1, 7, 100))
    assert not torch.equal(mirrored[7], flips(2, 7, 100))
    assert len({tuple(batch) for batch in mirrored.tolist()}) == 100
    flips(2**63 - 1, 2**63, 1)  # the largest of both


def test_first_numbers_of_every_stream() -> None:
    """Written down, so that no change of the streams goes unnoticed."""
    assert BatchOrder(1000, 4, 1).indices(0).tolist() == [993, 572, 321, 731]
    assert noise(1, 0, 1, 3)[0].tolist() == pytest.approx([1.1197171, -1.2581526, 0.7917979])
    assert g_noise(1, 0, 1, 3)[0].tolist() == pytest.approx([0.4710963, -0.9052396, 0.8414898])
    assert classes(1, 0, 6, 47).tolist() == [5, 14, 0, 23, 14, 37]
    assert flips(1, 0, 8).int().tolist() == [0, 1, 0, 1, 0, 1, 0, 0]
    assert BalancedOrder(torch.arange(1000) % 10, 4, 1).indices(0).tolist() == [149, 843, 434, 782]
