"""Which folders and zips of images are taken, with which classes, and which are refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from tests.training.pictures import picture, reds, refusal, write_folder, write_zip
from training.image_files import ImageFiles

Build = Callable[[Mapping[str, bytes]], Path]


@pytest.fixture(params=["folder", "zip"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Build:
    """Puts files into a folder, and into a zip."""
    if request.param == "zip":
        return lambda files: write_zip(tmp_path / "set.ZIP", files)
    (tmp_path / "set").mkdir()
    return lambda files: write_folder(tmp_path / "set", files)


def test_a_folder_a_class(build: Build) -> None:
    files = {"dog/a.PNG": picture((3, 0, 0)), "cat/b.png": picture((2, 0, 0))}
    files |= {"cat/a.png": picture((1, 0, 0)), "Yak/z.bmp": picture((9, 0, 0), form="BMP")}
    found = ImageFiles(build(files), resolution=8)
    assert found.class_names == ("Yak", "cat", "dog")
    assert (found.labels.tolist(), found.labels.dtype) == ([0, 1, 1, 2], torch.int64)
    assert reds(found) == [9, 1, 2, 3]
    batch = found.batch(torch.tensor([3, 0, 0]))
    assert (batch.shape, batch.dtype) == ((3, 3, 8, 8), torch.uint8)
    assert batch[:, 0, 0, 0].tolist() == [3, 9, 9]


def test_images_directly_inside_have_no_classes(build: Build) -> None:
    found = ImageFiles(build({"b.png": picture((2, 0, 0)), "a.png": picture()}), resolution=8)
    assert found.class_names == ()
    assert (found.labels.tolist(), found.labels.dtype) == ([0, 0], torch.int64)
    assert reds(found) == [0, 2]


def test_a_class_is_not_its_prefix(build: Build) -> None:
    # "a-b/1" sorts before "a/1" as text, but the class a comes before the class a-b.
    found = ImageFiles(build({"a-b/1.png": picture((2, 0, 0)), "a/1.png": picture()}), resolution=8)
    assert (found.class_names, reds(found)) == (("a", "a-b"), [0, 2])


def test_what_is_hidden_or_no_image_is_left_out(build: Build) -> None:
    files = {"cat/a.png": picture(), "cat/notes.txt": b"", "README": b"", ".x/a.png": b""}
    files |= {"__MACOSX/cat/._a.png": b"", "cat/._b.png": b"", "x/y/z.txt": b""}
    assert len(ImageFiles(build(files), resolution=8)) == 1


def test_parts(build: Build) -> None:
    path = build(
        {
            "train/dog/1.png": picture((1, 0, 0)),
            "train/cat/2.png": picture((2, 0, 0)),
            "test/cat/3.png": picture((3, 0, 0)),
            "val/cat/4.png": picture((4, 0, 0)),
        }
    )
    train = ImageFiles(path, resolution=8)
    assert (train.class_names, reds(train)) == (("cat", "dog"), [2, 1])
    assert reds(ImageFiles(path, resolution=8, train=False)) == [3]


def test_parts_called_val_and_parts_without_classes(build: Build) -> None:
    path = build({"train/1.png": picture((1, 0, 0)), "val/2.png": picture((2, 0, 0))})
    train, held_out = (ImageFiles(path, resolution=8, train=train) for train in (True, False))
    assert (train.class_names, reds(train), reds(held_out)) == ((), [1], [2])


def test_parts_that_are_missing(tmp_path: Path) -> None:
    only_test = write_zip(tmp_path / "a.zip", {"test/cat/1.png": picture()})
    assert refusal(only_test) == "PATH: no images in train/, only in test/; add train/"
    only_train = write_zip(tmp_path / "b.zip", {"train/cat/1.png": picture()})
    assert refusal(only_train, train=False) == (
        "PATH: no images in test/ or val/, only in train/; add test/"
    )
    no_parts = write_zip(tmp_path / "c.zip", {"cat/1.png": picture()})
    assert refusal(no_parts, train=False) == (
        "PATH: no held-out images; put the images in train/CLASS/FILE and test/CLASS/FILE"
    )


ALLOWED = (
    "All must be CLASS/FILE, one folder a class, or all directly inside, without classes: move "
    "the others, or name the folder that holds the classes with --data"
)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (
            ["b.png", "a.png", "cat/c.png"],
            "PATH: 2 images directly inside (a.png), 1 image in folders (cat/c.png)",
        ),
        (
            ["cat/c.png", "x/y/d.png"],
            "PATH: 1 image in folders (cat/c.png), 1 image in folders of folders (x/y/d.png)",
        ),
        (
            ["a.png", "cat/c.png", "x/y/d.png", "x/y/z/e.png"],
            "PATH: 1 image directly inside (a.png), 1 image in folders (cat/c.png), "
            "2 images in folders of folders (x/y/d.png)",
        ),
        (["set/cat/c.png"], "PATH: 1 image in folders of folders (set/cat/c.png)"),
        (
            ["train/a.png", "train/cat/b.png"],
            "PATH/train: 1 image directly inside (a.png), 1 image in folders (cat/b.png)",
        ),
        (
            ["train/cat/b.png", "rest/cat/c.png"],
            "PATH: 2 images in folders of folders (rest/cat/c.png)",
        ),
    ],
)
def test_wrong_depth(build: Build, names: list[str], found: str) -> None:
    assert refusal(build(dict.fromkeys(names, b""))) == f"{found}. {ALLOWED}"


def test_no_images(build: Build) -> None:
    assert refusal(build({"notes.txt": b""})) == (
        "PATH: no images; looked for .png, .jpg, .jpeg, .webp, .bmp in CLASS/ and directly inside"
    )


def test_no_such_path(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("")
    for name in ("nowhere", "nowhere.zip", "text"):
        assert refusal(tmp_path / name) == (
            "PATH: no such folder, and no .zip file; name a folder or .zip of images with --data "
            "or GANAGERIE_DATA"
        )


def labelled(labels: object) -> dict[str, bytes]:
    """Three images in StyleGAN's layout, with their dataset.json."""
    content = json.dumps({"labels": labels}).encode()
    return {
        "dataset.json": content,
        "00000/a.png": picture((1, 0, 0)),
        "00000/b.png": picture((2, 0, 0)),
        "00001/c.png": picture((3, 0, 0)),
    }


def test_dataset_json(build: Build) -> None:
    path = build(labelled([["00001/c.png", 0], ["00000/a.png", 1], ["00000/b.png", 0]]))
    found = ImageFiles(path, resolution=8)
    assert found.class_names == ("0", "1")
    assert (found.labels.tolist(), reds(found)) == ([1, 0, 0], [1, 2, 3])


@pytest.mark.parametrize("labels", [None, [], [["00000/a.png", None]]])
def test_dataset_json_without_classes(build: Build, labels: object) -> None:
    found = ImageFiles(build(labelled(labels)), resolution=8)
    assert (found.class_names, found.labels.tolist()) == ((), [0, 0, 0])


FORM = 'PATH: dataset.json must be {"labels": [[FILE, class index or null], …]}'


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([["00000/a.png", -1]], f"{FORM}, not ['00000/a.png', -1]"),
        ([["00000/a.png", True]], f"{FORM}, not ['00000/a.png', True]"),
        ([["00000/a.png", 0.5]], f"{FORM}, not ['00000/a.png', 0.5]"),
        ([["00000/a.png"]], f"{FORM}, not ['00000/a.png']"),
        (
            [["00000/a.png", 0], ["00000/b.png", None]],
            "PATH: dataset.json has no class for 2 images of 3 (00000/b.png); label all or none",
        ),
        (
            [["00000/a.png", 0], ["z.png", 0], ["y.png", 0]],
            "PATH: dataset.json labels files that are not there: 2, first y.png",
        ),
        (
            [["00000/a.png", 0], ["00000/b.png", 10**9], ["00001/c.png", 1]],
            "PATH: dataset.json: no image has class 2, the largest is 1000000000; "
            "number the classes from 0 without a gap",
        ),
    ],
)
def test_labels_that_do_not_fit(build: Build, labels: object, message: str) -> None:
    assert refusal(build(labelled(labels))) == message


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"{}", "'labels'"),
        (b"[]", "list indices must be integers or slices, not str"),
    ],
)
def test_a_dataset_json_that_is_none(build: Build, content: bytes, why: str) -> None:
    path = build({"a.png": picture(), "dataset.json": content})
    assert refusal(path) == f"{FORM}: {why}"


def test_labels_have_no_held_out_images(build: Build) -> None:
    assert refusal(build(labelled(None)), train=False).startswith("PATH: no held-out images; ")


def test_names_as_windows_writes_them(tmp_path: Path) -> None:
    path = write_zip(
        tmp_path / "a.zip", {"cat\\a.png": picture(), "./dog/b.png": picture((5, 0, 0))}
    )
    found = ImageFiles(path, resolution=8)
    assert (found.class_names, reds(found)) == (("cat", "dog"), [0, 5])
