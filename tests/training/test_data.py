"""Data sets by name or path, in the size asked for, and data that is not there."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage
from torch import Tensor
from torchvision import datasets

from tests.training.conftest import Cli, sets, synthetic
from training import data
from training.data import (
    Images,
    ImageSet,
    ResizedImages,
    dataset_at,
    load_cifar10,
    load_dataset,
    to_range,
)
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
    held_out = load_dataset("emnist-balanced", data_folder, resolution=28, train=False)
    assert isinstance(held_out, ImageSet)
    assert 0 < len(held_out) < len(emnist)
    assert set(held_out.labels.tolist()) == set(range(47))
    assert not torch.equal(held_out.images[:100], emnist.images[:100])


def test_emnist_in_other_sizes(
    emnist: ImageSet, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ImageSet(emnist.images[:20], emnist.labels[:20], emnist.class_names)
    monkeypatch.setattr(data, "load_emnist", lambda *_, **__: few)
    untouched, padded, resized = (
        load_dataset("emnist-balanced", data_folder, resolution=side) for side in (28, 32, 64)
    )
    assert untouched is few
    assert isinstance(padded, ImageSet)
    assert padded.images.shape == (20, 1, 32, 32)
    assert torch.equal(padded.images[:, :, 2:30, 2:30], few.images)
    assert padded.images.long().sum() == few.images.long().sum()  # so the border is 0
    assert isinstance(resized, ImageSet)
    assert (resized.resolution, resized.channels) == (64, 1)
    by_pillow = PilImage.fromarray(few.images[3, 0].numpy()).resize((64, 64), 1)  # 1: Lanczos
    assert np.array_equal(resized.images[3, 0].numpy(), np.asarray(by_pillow))
    assert torch.equal(resized.labels, few.labels)
    assert resized.class_names == few.class_names


@pytest.mark.parametrize(("limit", "kept"), [(20 * 64 * 64, True), (20 * 64 * 64 - 1, False)])
def test_what_is_too_large_for_memory_is_made_a_batch_at_a_time(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch, limit: int, kept: bool
) -> None:
    few = synthetic(20)
    monkeypatch.setattr(data, "load_emnist", lambda *_, **__: few)
    monkeypatch.setattr(data, "_IN_MEMORY_BYTES", limit)
    loaded: Images = load_dataset("emnist-balanced", data_folder, resolution=64)
    assert isinstance(loaded, ImageSet if kept else ResizedImages)
    chosen = torch.tensor([7, 7, 19, 0])
    assert torch.equal(loaded.batch(chosen), ResizedImages(few, 64).batch(chosen))
    assert (len(loaded), loaded.channels, loaded.resolution) == (20, 1, 64)


def test_limit_of_memory_is_2_gib() -> None:
    assert data._IN_MEMORY_BYTES == 2**31


def test_a_batch_in_memory_is_a_copy() -> None:
    images = synthetic(4)
    images.batch(torch.tensor([2])).zero_()
    assert images.images[2].any()


def test_unknown_data_set(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"^unknown data set 'mnist'; known: emnist-balanced, cifar10, images$"
    ):
        load_dataset("mnist", tmp_path, resolution=28)


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.uint8]:
    """CIFAR-10 of 6 training and 2 test images, in torchvision's layout; the training pixels."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(256, size=(8, 3, 32, 32), dtype=np.uint8)

    def write(name: str, content: object) -> str:
        whole = pickle.dumps(content)
        (folder / name).write_bytes(whole)
        return hashlib.md5(whole).hexdigest()  # noqa: S324  # what torchvision compares

    train = write("data_batch_1", {"data": pixels[:6].reshape(6, -1), "labels": [0, 1, 2, 2, 1, 0]})
    test = write("test_batch", {"data": pixels[6:].reshape(2, -1), "labels": [1, 2]})
    meta = write("batches.meta", {"label_names": ["cat", "dog", "frog"]})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", train]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", test]])
    monkeypatch.setitem(datasets.CIFAR10.meta, "md5", meta)
    return pixels[:6]


def test_cifar10_as_torchvision_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = write_cifar10(tmp_path, monkeypatch)
    loaded = load_dataset("cifar10", tmp_path, resolution=32)
    assert isinstance(loaded, ImageSet)
    assert np.array_equal(loaded.images.numpy(), pixels)
    assert (loaded.labels.tolist(), loaded.labels.dtype) == ([0, 1, 2, 2, 1, 0], torch.int64)
    assert loaded.class_names == ("cat", "dog", "frog")
    assert loaded.channels == 3
    assert len(load_dataset("cifar10", tmp_path, resolution=32, train=False)) == 2
    half = load_dataset("cifar10", tmp_path, resolution=16)
    assert isinstance(half, ImageSet)
    by_pillow = PilImage.fromarray(pixels[5].transpose(1, 2, 0)).resize((16, 16), 1)
    assert np.array_equal(half.images[5].permute(1, 2, 0).numpy(), np.asarray(by_pillow))


@pytest.mark.parametrize(
    ("damage", "why"),
    [(True, "files are missing or damaged"), (False, "the files are missing")],
)
def test_cifar10_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bool, why: str
) -> None:
    if damage:
        write_cifar10(tmp_path, monkeypatch)
        (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"")
    with pytest.raises(DatasetError) as caught:
        load_dataset("cifar10", tmp_path, resolution=32)
    assert str(caught.value) == (
        f"no CIFAR-10 in {tmp_path}/cifar-10-batches-py ({why}): name the folder that holds "
        "cifar-10-batches-py/, or a folder or .zip of your own images, with --data or "
        "GANAGERIE_DATA, or add --download to fetch CIFAR-10 there (about 170 MB)"
    )


def test_a_download_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.CIFAR10, "download", fail)
    message = f"^CIFAR-10 could not be downloaded to {tmp_path}: no route to host$"
    with pytest.raises(DatasetError, match=message):
        load_cifar10(tmp_path, download=True)


def test_the_path_decides_between_a_named_set_and_images(tmp_path: Path) -> None:
    assert dataset_at("emnist-balanced", tmp_path) == "emnist-balanced"  # which is missing, then
    (tmp_path / "cat").mkdir()
    PilImage.new("L", (4, 4)).save(tmp_path / "cat" / "a.png")
    assert dataset_at("emnist-balanced", tmp_path) == "images"
    assert dataset_at("cifar10", tmp_path) == "images"
    assert dataset_at("cifar10", tmp_path, download=True) == "cifar10"
    assert dataset_at("images", tmp_path) == "images"
    (tmp_path / "EMNIST" / "raw").mkdir(parents=True)
    assert dataset_at("emnist-balanced", tmp_path) == "emnist-balanced"
    assert dataset_at("cifar10", tmp_path) == "images"


def test_images_in_place_of_a_named_set(tmp_path: Path) -> None:
    for i, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        PilImage.new("RGB", (6, 4), (i, 2, 3)).save(tmp_path / name / "a.png")
    loaded = load_dataset("emnist-balanced", tmp_path, resolution=4)
    assert isinstance(loaded, ImageSet)
    assert loaded.class_names == ("cat", "dog")
    assert loaded.images[1, :, 0, 0].tolist() == [1, 2, 3]


def test_images_are_not_downloaded(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        load_dataset("images", tmp_path, resolution=28, download=True)
    assert str(caught.value) == (
        "data set 'images' cannot be downloaded: leave out --download, and name a folder or .zip "
        "of images with --data or GANAGERIE_DATA"
    )


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
        "name the folder that holds EMNIST/, or a folder or .zip of your own images, with --data "
        "or GANAGERIE_DATA, or add --download to fetch EMNIST there (about 560 MB)\n"
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


def test_to_range() -> None:
    grey = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert to_range(grey, (0.0, 1.0)).tolist() == pytest.approx([0.0, 0.2, 1.0])
    assert to_range(grey, (-1.0, 1.0)).tolist() == pytest.approx([-1.0, -0.6, 1.0])
    assert to_range(grey, (0.0, 1.0)).dtype == torch.float32
    assert grey.tolist() == [0, 51, 255]
