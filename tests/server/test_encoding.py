"""Every format holds the pixels that it should, and an answer never outgrows a reply."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from protos.v1 import ganagerie_pb2 as pb
from server.encoding import Encoding, ImageFormat
from tests.server.calls import Stubs, connect, mixture, pixels, refusal
from tests.serving import server_in_thread
from tests.toys import write_toy

PNG, RAW = pb.IMAGE_FORMAT_PNG, pb.IMAGE_FORMAT_RAW
JPEG, WEBP = pb.IMAGE_FORMAT_JPEG, pb.IMAGE_FORMAT_WEBP
MAX_REPLY_BYTES = 4 * 1024 * 1024
MAGIC = {PNG: b"\x89PNG\r\n\x1a\n", JPEG: b"\xff\xd8\xff", WEBP: b"RIFF"}
MODELS = pytest.mark.parametrize(("model", "channels"), [("letters", 1), ("colour", 3)])


def raw(image: pb.GeneratedImage) -> NDArray[np.uint8]:
    shape = image.height, image.width, image.channels
    return np.frombuffer(image.data, np.uint8).reshape(shape)


def brightness(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    weights = np.array([0.299, 0.587, 0.114]) if image.shape[2] == 3 else np.ones(1)
    luma: NDArray[np.float64] = image @ weights
    return luma


def smooth(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """A slow gradient, another in each channel: what lossy formats keep well."""
    row = np.linspace(20, 120, width)[None, :, None]
    column = np.linspace(0, 40, height)[:, None, None]
    return (row + column + 30 * np.arange(channels)).astype(np.uint8)


@MODELS
@pytest.mark.parametrize("image_format", [PNG, WEBP])
def test_a_lossless_format_holds_the_raw_pixels(
    stubs: Stubs, model: str, channels: int, image_format: Any
) -> None:
    bare = stubs.generate(model, count=20, seed=1, format=RAW)
    coded = stubs.generate(model, count=20, seed=1, format=image_format)
    for plain, image in zip(bare, coded, strict=True):
        assert image.format == image_format
        assert image.data.startswith(MAGIC[image_format])
        assert (image.width, image.height, image.channels) == (12, 12, channels)
        decoded = pixels(image.data)
        # WEBP has no grey: it holds the same value in all three channels.
        assert np.array_equal(decoded, np.broadcast_to(raw(plain), decoded.shape))
        assert decoded.shape[2] == (3 if image_format == WEBP else channels)


@MODELS
def test_raw_is_the_bare_pixels(stubs: Stubs, model: str, channels: int) -> None:
    (image,) = stubs.generate(model, format=RAW)
    assert image.format == RAW
    assert (image.width, image.height, image.channels) == (12, 12, channels)
    assert len(image.data) == 12 * 12 * channels
    assert raw(image).std() > 0


@MODELS
@pytest.mark.parametrize("image_format", [JPEG, WEBP])
def test_a_lossy_format_comes_close_to_the_raw_pixels(
    stubs: Stubs, model: str, channels: int, image_format: Any
) -> None:
    (plain,) = stubs.generate(model, seed=1, format=RAW)
    (image,) = stubs.generate(model, seed=1, format=image_format, quality=100)
    assert image.format == image_format
    assert image.data.startswith(MAGIC[image_format])
    # Subsampling drops much of a colour noise; its brightness stays.
    error = np.abs(brightness(raw(plain)) - brightness(pixels(image.data))).mean()
    (other,) = stubs.generate(model, seed=2, format=RAW)
    difference = np.abs(brightness(raw(plain)) - brightness(raw(other))).mean()
    assert error < 10 < difference / 2


def test_an_unset_format_is_png(stubs: Stubs) -> None:
    (image,) = stubs.generate("plain", seed=1)
    assert image.format == PNG
    assert image == stubs.generate("plain", seed=1, format=PNG)[0]


def test_an_unset_jpeg_quality_is_90(stubs: Stubs) -> None:
    unset, asked, less = (
        stubs.generate("colour", seed=1, format=JPEG, **quality)[0].data
        for quality in ({}, {"quality": 90}, {"quality": 30})
    )
    assert unset == asked
    assert len(less) < len(asked)


SHAPES = [(1, 1, 1), (1, 1, 3), (5, 9, 1), (9, 5, 3), (64, 48, 3), (300, 2, 1)]
AROUND_LARGE = [(1, 8191, 1), (1, 8192, 1), (2, 4096, 1), (90, 91, 1), (91, 91, 1), (53, 52, 3)]


@pytest.mark.parametrize("shape", [*SHAPES, *AROUND_LARGE])
@pytest.mark.parametrize("image_format", [ImageFormat.PNG, ImageFormat.WEBP])
def test_any_shape_survives_a_lossless_format(
    shape: tuple[int, int, int], image_format: ImageFormat
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    decoded = pixels(Encoding(image_format).encode(noise))
    assert np.array_equal(decoded, np.broadcast_to(noise, decoded.shape))


@pytest.mark.parametrize("shape", AROUND_LARGE)
def test_a_smooth_png_survives_with_and_without_a_filter(shape: tuple[int, int, int]) -> None:
    image = smooth(*shape)
    decoded = pixels(Encoding(ImageFormat.PNG).encode(image))
    assert np.array_equal(decoded, np.broadcast_to(image, decoded.shape))


def test_a_large_smooth_png_is_a_fraction_of_its_pixels() -> None:
    image = smooth(128, 128, 3)
    assert len(Encoding(ImageFormat.PNG).encode(image)) < image.nbytes / 4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("image_format", [ImageFormat.JPEG, ImageFormat.WEBP])
def test_any_smooth_shape_survives_a_lossy_format(
    shape: tuple[int, int, int], image_format: ImageFormat
) -> None:
    decoded = pixels(Encoding(image_format, 95).encode(smooth(*shape)))
    assert decoded.shape[:2] == shape[:2]
    assert np.abs(decoded - smooth(*shape).astype(float)).max() <= 12


@pytest.mark.parametrize("image_format", ImageFormat)
def test_the_same_pixels_always_give_the_same_bytes(image_format: ImageFormat) -> None:
    everywhere = smooth(40, 30, 3)[::2, :, ::-1]  # as it lies in memory must not matter
    packed = np.ascontiguousarray(everywhere)
    assert Encoding(image_format).encode(everywhere) == Encoding(image_format).encode(packed)


@pytest.fixture(scope="module")
def noise(noise_zoo: Path) -> Iterator[Stubs]:
    with server_in_thread(noise_zoo) as running, connect(running.grpc) as stubs:
        yield stubs


@pytest.mark.parametrize("image_format", [PNG, RAW, WEBP])
def test_the_most_images_that_fit_an_answer_arrive(noise: Stubs, image_format: Any) -> None:
    request = pb.GenerateRequest(model="noise", count=63, format=image_format)
    response = noise.images.Generate(request)
    assert len(response.images) == 63
    assert response.ByteSize() <= MAX_REPLY_BYTES


def test_one_image_more_than_fits_an_answer_needs_a_stream(noise: Stubs) -> None:
    refused = refusal(lambda: noise.generate("noise", count=64))
    assert refused[0] == "INVALID_ARGUMENT"
    assert refused[2:4] == (
        "count",
        "64 images of noise@1.0.0 may exceed a reply of 4,194,304 bytes; "
        "ask for at most 63, or use StreamGenerate",
    )
    assert sorted(image.index for image in noise.stream("noise", count=64)) == list(range(64))


def outcome(stubs: Stubs, model: str, count: int, **fields: Any) -> str:
    """OK, or the status code and the field that is to blame."""
    try:
        return "OK" if len(stubs.generate(model, count=count, **fields)) == count else "too few"
    except grpc.RpcError as error:
        return f"{error.code().name} {(error.details() or '').split(':')[0]}"


@pytest.mark.parametrize("image_format", [JPEG, WEBP])
def test_an_answer_never_breaks_where_quality_makes_files_larger_than_pixels(
    noise: Stubs, image_format: Any
) -> None:
    got = outcome(noise, "noise", 63, format=image_format, quality=100)
    assert got in {"OK", "INVALID_ARGUMENT count"}


def test_an_answer_never_breaks_for_the_names_of_a_large_mixture(tmp_path: Path) -> None:
    names = tuple(f"{i:03} a name as long as those of ImageNet" for i in range(100))
    write_toy(tmp_path, "many", classes=names, side=64)
    conditions = mixture(*((i, 1) for i in range(100)))
    with server_in_thread(tmp_path) as running, connect(running.grpc) as stubs:
        got = outcome(stubs, "many", 819, conditions=conditions)
    assert got in {"OK", "INVALID_ARGUMENT count"}
