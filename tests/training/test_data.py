"""EMNIST upright, batches in an order without state, noise, and data that is not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import datasets

from tests.training.conftest import Cli, sets, synthetic
from training.data import BatchOrder, ImageSet, load_dataset, noise, to_unit_range
from training.errors import DatasetError

CLASSES = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"


def mean_of(emnist: ImageSet, name: str) -> Tensor:
    """Mean image of a class, float32 [28, 28]."""
    chosen = emnist.labels == emnist.class_names.index(name)
    return emnist.images[chosen, 0].float().mean(0)


def test_emnist_is_uint8_with_47_classes(emnist: ImageSet) -> None:
    assert "".join(emnist.class_names) == CLASSES
    assert len(emnist.class_names) == 47
    assert emnist.images.shape == (len(emnist), 1, 28, 28)
    assert emnist.images.dtype == torch.uint8
    assert emnist.labels.shape == (len(emnist),)
    assert emnist.labels.dtype == torch.int64
    assert set(emnist.labels.tolist()) == set(range(47))
    assert (int(emnist.images.min()), int(emnist.images.max())) == (0, 255)


def test_emnist_is_torchvisions_transposed(emnist: ImageSet, data_folder: Path) -> None:
    raw = datasets.EMNIST(str(data_folder), split="balanced", train=True)
    for i in (0, 1, len(emnist) // 2, len(emnist) - 1):
        assert torch.equal(emnist.images[i, 0], raw.data[i].T)
        assert emnist.class_names[int(emnist.labels[i])] == raw.classes[raw.targets[i]]


def test_t_has_its_bar_on_top_and_its_stem_in_the_middle(emnist: ImageSet) -> None:
    image = mean_of(emnist, "T")
    rows, lower = image.mean(1), image[16:]
    assert rows.argmax() < 12
    assert rows[:12].max() > 1.5 * rows[16:26].max()
    assert lower[:, 10:18].mean() > 3 * lower[:, 20:].mean()
    assert lower[:, 10:18].mean() > 3 * lower[:, :6].mean()


def test_l_has_its_foot_at_the_bottom(emnist: ImageSet) -> None:
    rows = mean_of(emnist, "L").mean(1)
    assert rows[20:24].sum() > 1.5 * rows[4:8].sum()


def test_7_is_not_mirrored(emnist: ImageSet) -> None:
    image = mean_of(emnist, "7")
    assert image[4:8, 8:20].mean() > 3 * image[16:24, 16:24].mean()  # its bar
    assert (
        image[8:14, 16:24].mean() > 2 * image[8:14, 4:12].mean()
    )  # its stroke leaves on the right


def test_test_images_are_others(emnist: ImageSet, data_folder: Path) -> None:
    held_out = load_dataset("emnist-balanced", data_folder, train=False)
    assert 0 < len(held_out) < len(emnist)
    assert set(held_out.labels.tolist()) == set(range(47))
    assert not torch.equal(held_out.images[:100], emnist.images[:100])


def test_unknown_data_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"^unknown data set 'mnist'; known: emnist-balanced$"):
        load_dataset("mnist", tmp_path)


@pytest.mark.parametrize("option", [True, False])
def test_missing_data(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, option: bool
) -> None:
    folder = tmp_path / "nowhere"
    if not option:
        monkeypatch.setenv("GANAGERIE_DATA", str(folder))
    arguments = ["--data", str(folder)] if option else []
    ended = cli("train", "dcgan-emnist", "--out", "run", *arguments, *sets())
    assert ended.code == 2
    assert ended.err == (
        f"error: no EMNIST in {folder}/EMNIST/raw "
        "(the files are missing): "
        "name the folder that holds EMNIST/ with --data or GANAGERIE_DATA, "
        "or add --download to fetch it there (about 560 MB)\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [0, 3, 16, 1000])
def test_truncated_data(cli: Cli, data_folder: Path, tmp_path: Path, left: int) -> None:
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (data_folder / "EMNIST" / "raw").iterdir():
        if "train-images" in file.name:
            with file.open("rb") as whole:
                (raw / file.name).write_bytes(whole.read(left))
        else:
            shutil.copyfile(file, raw / file.name)
    ended = cli("train", "dcgan-emnist", "--data", tmp_path, "--out", "run", *sets())
    assert ended.code == 2
    assert ended.err.startswith(f"error: no EMNIST in {raw} (")
    assert "(.)" not in ended.err  # says what is wrong with it
    assert ended.err.count("\n") == 1


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


def test_fewer_images_than_a_batch_spoil_no_run_directory(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.load_emnist", lambda *_, **__: synthetic(20))
    command = ["train", "dcgan-emnist", "--out", "run", *sets("max_itr=1")]
    refused = cli(*command, "--set", "batch_size=21")
    assert (refused.code, refused.err.splitlines()[-1]) == (
        2,
        "error: 20 images are fewer than one batch of 21",
    )
    mended = cli(*command, "--set", "batch_size=20")
    assert mended.code == 0, mended.err


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


def test_to_unit_range() -> None:
    grey = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert to_unit_range(grey).tolist() == pytest.approx([0.0, 0.2, 1.0])
    assert to_unit_range(grey).dtype == torch.float32
    assert grey.tolist() == [0, 51, 255]
