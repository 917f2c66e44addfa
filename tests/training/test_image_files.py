"""Image files: how they are decoded, kept or not kept in memory, and what is refused."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from rich.console import Console

from tests.training.pictures import encoded, picture, reds, refusal, write_folder, write_zip
from training import data, image_files
from training.data import ImageSet, load_images
from training.errors import DatasetError
from training.image_files import ImageFiles, fit, holds_images


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


def test_images_that_cannot_be_read(tmp_path: Path) -> None:
    noise = PilImage.fromarray(
        np.random.default_rng(0).integers(256, size=(40, 40), dtype=np.uint8)
    )
    files = {f"cat/{i}.png": picture() for i in range(6)}
    files |= {"cat/2.png": b"text", "cat/4.png": encoded(noise)[:300], "cat/5.jpg": b""}
    path = write_zip(tmp_path / "a.zip", files)
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, kept: bool
) -> None:
    monkeypatch.setattr(data, "_IN_MEMORY_BYTES", limit)
    loaded = load_images(
        write_zip(tmp_path / "a.zip", {"a.png": picture(), "b.png": picture((9, 0, 0))}),
        resolution=8,
    )
    assert isinstance(loaded, ImageSet if kept else ImageFiles)
    assert loaded.batch(torch.tensor([1, 0, 1]))[:, 0, 3, 3].tolist() == [9, 0, 9]


def test_rows_are_those_asked_for(tmp_path: Path) -> None:
    """More images than one thread decodes at once, in an order that is not theirs."""
    path = write_zip(tmp_path / "a.zip", {f"{i:03}.png": picture((i, 0, 0)) for i in range(200)})
    order = list(range(200))
    random.Random(1).shuffle(order)  # noqa: S311  # a test's
    found = ImageFiles(path, resolution=8)
    assert found.batch(torch.tensor(order))[:, 0, 0, 0].tolist() == order


@pytest.mark.parametrize(("long", "said"), [(3, True), (4, False)])
def test_long_decoding_is_announced(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    long: int,
    said: bool,
) -> None:
    monkeypatch.setattr(image_files, "_LONG", long)
    monkeypatch.setattr(
        image_files, "Console", lambda file: Console(file=file, width=300, force_terminal=False)
    )
    path = write_zip(tmp_path / "a.zip", {f"{i}.png": picture() for i in range(3)})
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
