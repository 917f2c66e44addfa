"""Encoders: microseconds and bytes an image, in one thread: `python -m benchmarks.encoders`.

The server's own for each format, beside others that could do it; OpenCV (opencv-python-headless)
is measured where it is installed. Images are those of the bundled models, and
smooth ones in colour, larger, that stand for photographs.
"""

from __future__ import annotations

import importlib
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.machine import describe
from server.encoding import ImageFormat, check_encoding
from zoo.catalog import BUNDLED, Catalog
from zoo.generator import load_generator

_IMAGES = 64
_ROUNDS = 7
_JPEG_QUALITY = 90

Pixels = NDArray[np.uint8]
Encoder = Callable[[Pixels], bytes]


def pillow(format_: str, **options: Any) -> Encoder:
    """Pillow's encoder."""

    def encode(pixels: Pixels) -> bytes:
        buffer = io.BytesIO()
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        image.save(buffer, format_, **options)
        return buffer.getvalue()

    return encode


def opencv(extension: str, *options: str | int) -> Encoder | None:
    """OpenCV's encoder, which takes blue before red; None where it is not installed."""
    try:
        cv2: Any = importlib.import_module("cv2")
    except ImportError:
        return None
    flags = [getattr(cv2, o) if isinstance(o, str) else o for o in options]

    def encode(pixels: Pixels) -> bytes:
        found, data = cv2.imencode(extension, pixels[:, :, ::-1], flags)
        assert found
        return bytes(data)

    return encode


def encoders() -> dict[str, Encoder | None]:
    """By name; the server's own come first of their format."""
    own = {format_: check_encoding(format_, None).encode for format_ in ImageFormat}
    quality = {"quality": _JPEG_QUALITY}
    return {
        "PNG, ours (ISA-L)": own[ImageFormat.PNG],
        "PNG, Pillow level 1": pillow("PNG", compress_level=1),
        "PNG, OpenCV level 1": opencv(".png", "IMWRITE_PNG_COMPRESSION", 1),
        "WebP lossless, ours (Pillow, method 0)": own[ImageFormat.WEBP],
        "WebP lossless, Pillow method 4": pillow("WEBP", lossless=True),
        "WebP lossless, OpenCV": opencv(".webp", "IMWRITE_WEBP_QUALITY", 101),
        "JPEG 90, ours (simplejpeg)": own[ImageFormat.JPEG],
        "JPEG 90, Pillow": pillow("JPEG", **quality),
        "JPEG 90, OpenCV": opencv(".jpg", "IMWRITE_JPEG_QUALITY", _JPEG_QUALITY),
    }


def smooth(side: int) -> Pixels:
    """Random images in colour without sharp edges, uint8 [N, side, side, 3]."""
    coarse = np.random.default_rng(0).integers(0, 256, (_IMAGES, 6, 6, 3), np.uint8)
    resized = [Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC) for c in coarse]
    return np.stack([np.asarray(image) for image in resized])


def subjects() -> dict[str, Pixels]:
    """Images by what they are."""
    found = {}
    for entry in Catalog.open(BUNDLED).entries:
        mixtures = [((i % 47, 1.0),) for i in range(_IMAGES)] if entry.card.classes else None
        generator = load_generator(entry, "cpu")
        images = generator.generate(range(_IMAGES), [None] * _IMAGES, mixtures)
        found[f"{entry.card.name}, {images.shape[1]} px"] = images
    return found | {f"smooth, {side} px RGB": smooth(side) for side in (32, 128, 512)}


def main() -> None:
    """Measures in turns and prints a table for docs/benchmarks.md."""
    print(f"{describe()}\n\n| images | encoder | us | bytes |\n|---|---|---|---|")
    for label, images in subjects().items():
        known = {name: encode for name, encode in encoders().items() if encode}
        us: dict[str, list[float]] = {name: [] for name in known}
        size = {
            name: statistics.mean(len(e(image)) for image in images) for name, e in known.items()
        }
        for _ in range(_ROUNDS):
            for name, encode in known.items():
                started_s = time.perf_counter()
                for image in images:
                    encode(image)
                us[name].append((time.perf_counter() - started_s) / len(images) * 1e6)
        for name in known:
            print(f"| {label} | {name} | {min(us[name]):.0f} | {size[name]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
