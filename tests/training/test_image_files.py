"""Folders and zips of images: which layouts are taken, how images are decoded, what is refused."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from rich.console import Console

from training import data, image_files
from training.data import ImageSet, load_images
from training.errors import DatasetError
from training.image_files import ImageFiles, fit, holds_images

Build = Callable[[Mapping[str, bytes]], Path]


def picture(value: int | tuple[int, ...] = 0, mode: str = "RGB", form: str = "PNG") -> bytes:
    """A file of 8x8 pixels in one colour."""
    out = io.BytesIO()
    PilImage.new(mode, (8, 8), value).save(out, form)
    return out.getvalue()


def encoded(image: PilImage.Image, form: str = "PNG", **options: object) -> bytes:
    """An image file."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    """A folder with these files."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """A zip with these files."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(params=["folder", "zip"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Build:
    """Puts files into a folder, and into a zip."""
    if request.param == "zip":
        return lambda files: write_zip(tmp_path / "set.ZIP", files)
    (tmp_path / "set").mkdir()
    return lambda files: write_folder(tmp_path / "set", files)


def refusal(path: Path, *, train: bool = True) -> str:
    """What opening `path` raises, `path` itself as PATH."""
    with pytest.raises(DatasetError) as caught:
        ImageFiles(path, resolution=8, train=train)
    return str(caught.value).replace(str(path), "PATH")


def reds(files: ImageFiles) -> list[int]:
    """The first pixel's first channel of every image, in order."""
    return files.all()[:, 0, 0, 0].tolist()


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


def test_an_encrypted_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"cat/a.png": picture()})
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + flags] |= 1
    path.write_bytes(content)
    assert refusal(path) == (
        "PATH: cat/a.png is encrypted; unpack it with its password, then name the folder, or a "
        ".zip of it without a password, with --data"
    )


def test_a_damaged_zip(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "a.zip", {"cat/a.png": picture()}).read_bytes()
    for left in (0, 10, len(whole) - 30):
        (tmp_path / "a.zip").write_bytes(whole[:left])
        assert refusal(tmp_path / "a.zip") == (
            "PATH: not a whole zip file (File is not a zip file); make or fetch it again"
        )


def test_images_that_cannot_be_read(build: Build) -> None:
    noise = PilImage.fromarray(
        np.random.default_rng(0).integers(256, size=(40, 40), dtype=np.uint8)
    )
    files = {f"cat/{i}.png": picture() for i in range(6)}
    files |= {"cat/2.png": b"text", "cat/4.png": encoded(noise)[:300], "cat/5.jpg": b""}
    path = build(files)
    found = ImageFiles(path, resolution=8)
    with pytest.raises(DatasetError) as caught:
        found.all()
    assert str(caught.value) == (
        f"{path}: 3 of 7 images cannot be read, first cat/2.png (not a PNG, JPEG, WebP or BMP "
        "file); remove or replace them"
    )
    with pytest.raises(
        DatasetError, match=r"1 of 2 images cannot be read, first cat/4\.png \(.+\)"
    ):
        found.batch(torch.tensor([4, 0]))
    assert found.batch(torch.tensor([0, 1])).shape == (2, 3, 8, 8)


def test_an_entry_that_fails_its_checksum(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"cat/a.png": picture(), "cat/b.png": picture()})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"IDAT") + 8] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DatasetError, match=r"1 of 2 images cannot be read, first cat/b\.png \(Bad CRC"
    ):
        ImageFiles(path, resolution=8).all()


def test_a_file_that_has_gone(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", {"a.png": picture(), "b.png": picture()})
    found = ImageFiles(path, resolution=8)
    (path / "b.png").unlink()
    with pytest.raises(DatasetError, match=r"first b\.png \(\[Errno 2\] No such file"):
        found.batch(torch.tensor([1]))


@pytest.mark.parametrize(
    ("mode", "value", "grey"),
    [
        ("1", 1, 255),
        ("L", 7, 7),
        ("LA", (7, 255), 7),
        ("I;16", 7 * 256 + 200, 7),
        ("LA", (7, 0), 255),  # transparent, so it shows the white below
    ],
)
def test_grey_files(tmp_path: Path, mode: str, value: int | tuple[int, ...], grey: int) -> None:
    path = write_folder(tmp_path, {"a.png": picture(value, mode), "b.png": picture(7, "L")})
    found = ImageFiles(path, resolution=8)
    assert found.channels == 1
    assert found.all().shape == (2, 1, 8, 8)
    assert reds(found) == [grey, 7]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_one_coloured_file_makes_all_rgb(tmp_path: Path, mode: str) -> None:
    files = {"a.png": picture(7, "L"), "b.png": encoded(PilImage.new(mode, (8, 8)))}
    found = ImageFiles(write_folder(tmp_path, files), resolution=8)
    assert found.channels == 3
    assert found.all()[0, :, 0, 0].tolist() == [7, 7, 7]


def test_colours_at_the_end_of_a_large_set_are_seen(tmp_path: Path) -> None:
    files = {f"{i:03}.png": picture(7, "L") for i in range(150)}
    files |= {f"{i:03}.png": picture((1, 2, 3)) for i in range(148, 150)}
    assert ImageFiles(write_folder(tmp_path, files), resolution=8).channels == 3


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "BMP", "PNG"])
def test_formats(tmp_path: Path, form: str) -> None:
    suffix = {"JPEG": "jpg"}.get(form, form.lower())
    path = write_folder(tmp_path, {f"a.{suffix}": picture((200, 100, 50), form=form)})
    pixel = ImageFiles(path, resolution=8).all()[0, :, 4, 4].tolist()
    assert pixel == pytest.approx([200, 100, 50], abs=3)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    path = write_folder(tmp_path, {"a.png": picture((0, 100, 200, 0), "RGBA")})
    assert ImageFiles(path, resolution=8).all()[0, :, 0, 0].tolist() == [255, 255, 255]


def test_images_are_turned_as_their_camera_says(tmp_path: Path) -> None:
    image = PilImage.new("L", (8, 8))
    image.paste(255, (0, 0, 8, 4))  # the upper half is white
    exif = PilImage.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees clockwise
    path = write_folder(tmp_path, {"a.png": encoded(image, exif=exif)})
    turned = ImageFiles(path, resolution=8).all()[0, 0]
    assert (int(turned[:, :4].max()), int(turned[:, 4:].min())) == (0, 255)


@pytest.mark.parametrize("size", [(9, 4), (4, 9), (4, 4), (10, 4)])
def test_the_centre_is_cropped(size: tuple[int, int]) -> None:
    width, height = size
    pixels = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    left, top = (width - 4) // 2, (height - 4) // 2
    square = np.asarray(fit(PilImage.fromarray(pixels), 4))
    assert np.array_equal(square, pixels[top : top + 4, left : left + 4])


def test_resizing_averages() -> None:
    lines = np.zeros((64, 64), np.uint8)
    lines[::2] = 200  # without antialiasing either 0 or 200
    small = np.asarray(fit(PilImage.fromarray(lines), 16))
    assert small.shape == (16, 16)
    assert np.abs(small[2:-2].astype(float) - 100).max() < 3


def test_what_is_cropped_away_does_not_bleed_in() -> None:
    wide = np.full((32, 64), 255, np.uint8)
    wide[:, 16:48] = 10
    assert np.unique(np.asarray(fit(PilImage.fromarray(wide), 8))).tolist() == [10]


@pytest.mark.parametrize(("limit", "kept"), [(2 * 3 * 64, True), (2 * 3 * 64 - 1, False)])
def test_large_sets_stay_in_their_files(
    build: Build, monkeypatch: pytest.MonkeyPatch, limit: int, kept: bool
) -> None:
    monkeypatch.setattr(data, "_IN_MEMORY_BYTES", limit)
    loaded = load_images(build({"a.png": picture(), "b.png": picture((9, 0, 0))}), resolution=8)
    assert isinstance(loaded, ImageSet if kept else ImageFiles)
    assert loaded.batch(torch.tensor([1, 0, 1]))[:, 0, 3, 3].tolist() == [9, 0, 9]


def test_rows_are_those_asked_for(build: Build) -> None:
    """More images than one thread decodes at once, in an order that is not theirs."""
    path = build({f"{i:03}.png": picture((i, 0, 0)) for i in range(200)})
    order = list(range(200))
    random.Random(1).shuffle(order)  # noqa: S311  # a test's
    found = ImageFiles(path, resolution=8)
    assert found.batch(torch.tensor(order))[:, 0, 0, 0].tolist() == order


@pytest.mark.parametrize(("long", "said"), [(3, True), (4, False)])
def test_long_decoding_is_announced(
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    long: int,
    said: bool,
) -> None:
    monkeypatch.setattr(image_files, "_LONG", long)
    monkeypatch.setattr(
        image_files, "Console", lambda file: Console(file=file, width=300, force_terminal=False)
    )
    path = build({f"{i}.png": picture() for i in range(3)})
    ImageFiles(path, resolution=8).all()
    assert capsys.readouterr().err == (f"decoding 3 images of {path}\n" if said else "")


def test_holds_images(tmp_path: Path) -> None:
    assert not holds_images(tmp_path / "nowhere")
    assert not holds_images(write_folder(tmp_path / "a", {"x/notes.txt": b"", ".b.png": b""}))
    assert holds_images(write_folder(tmp_path / "b", {"x/y/a.png": b""}))
    assert holds_images(write_zip(tmp_path / "c.zip", {}))


def test_folders_that_are_linked_in(tmp_path: Path) -> None:
    write_folder(tmp_path / "there" / "cat", {"a.png": picture()})
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "there" / "cat")
    assert ImageFiles(tmp_path / "set", resolution=8).class_names == ("cat",)


def test_cifar10_as_a_zip_of_jpegs(data_folder: Path) -> None:
    path = data_folder / "cifar10-images.zip"
    if not path.is_file():
        pytest.skip(f"no {path}")
    held_out = ImageFiles(path, resolution=32, train=False)
    assert held_out.class_names[:3] == ("airplane", "automobile", "bird")
    assert (len(held_out.class_names), held_out.channels) == (10, 3)
    assert held_out.labels.bincount().tolist() == [len(held_out) // 10] * 10
    chosen = torch.tensor([0, len(held_out) - 1])
    with zipfile.ZipFile(path) as archive:
        names = [n for n in sorted(archive.namelist()) if n.startswith("test/") and n[-1] != "/"]
        for i, decoded in zip(chosen.tolist(), held_out.batch(chosen), strict=True):
            expected = np.asarray(PilImage.open(io.BytesIO(archive.read(names[i]))))
            assert np.array_equal(decoded.permute(1, 2, 0).numpy(), expected)
