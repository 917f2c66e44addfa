"""What one image costs, by parts: `python -m benchmarks.image_parts [--model NAME]`.

CPU time of one thread, best of several repetitions, per image of a batch. Beside what the server
uses stand the alternatives it was chosen over.
"""

from __future__ import annotations

import argparse
import io
import time
import zlib
from collections.abc import Callable

import numpy as np
from isal import isal_zlib
from PIL import Image

from benchmarks.machine import describe
from server.png import encode_png
from server.requests import FinishedImage, GenerationRequest, plan
from server.translation import to_message
from zoo.catalog import BUNDLED, Catalog
from zoo.generator import load_generator
from zoo.latents import latents

_BATCH = 64
_REPETITIONS = 20


def _pillow(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _us(call: Callable[[], object]) -> float:
    """CPU microseconds an image, of a call that handles one batch."""
    times = []
    for _ in range(_REPETITIONS):
        start_s = time.thread_time()
        call()
        times.append(time.thread_time() - start_s)
    return min(times) / _BATCH * 1e6


def main() -> None:
    """Measures and prints a table for docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="dcgan-emnist")
    generator = load_generator(Catalog.open(BUNDLED).resolve(parser.parse_args().model), "cpu")
    card = generator.card
    mixtures = [((0, 1.0),)] * _BATCH if card.classes else None
    seeds, none = range(_BATCH), [None] * _BATCH
    pixels = generator.generate(seeds, none, mixtures)
    pictures = [Image.fromarray(image.squeeze()) for image in pixels]
    height, width, channels = pixels.shape[1:]
    rows = np.zeros((_BATCH, height, 1 + width * channels), np.uint8)
    rows[:, :, 1:] = pixels.reshape(_BATCH, height, width * channels)
    planned = plan(GenerationRequest(card.name, count=_BATCH, seed=0), card, _BATCH)
    finished = [FinishedImage(i, i, planned.mixture(i), b"") for i in seeds]

    def compressed(compress: Callable[[memoryview], bytes]) -> str:
        size = sum(len(compress(image.data)) for image in rows) / _BATCH
        return f"{_us(lambda: [compress(image.data) for image in rows]):.1f} | {size:.0f}"

    print(f"{describe()}\n{card.reference}, batches of {_BATCH}")
    print("| part | us an image | bytes |\n|---|---|---|")
    whole = _us(lambda: generator.generate(seeds, none, mixtures))
    drawn = _us(lambda: latents(seeds, none, card.latent.dim))
    print(f"| network | {whole - drawn:.1f} | |\n| latents | {drawn:.1f} | |")
    size = sum(len(encode_png(image)) for image in pixels) / _BATCH
    print(f"| PNG | {_us(lambda: [encode_png(i) for i in pixels]):.1f} | {size:.0f} |")
    size = sum(map(len, map(_pillow, pictures))) / _BATCH
    by_pillow = _us(lambda: [_pillow(picture) for picture in pictures])
    print(f"| PNG by Pillow, level 1 | {by_pillow:.1f} | {size:.0f} |")
    print(f"| deflate: ISA-L level 0 | {compressed(lambda data: isal_zlib.compress(data, 0))} |")
    print(f"| deflate: ISA-L level 1 | {compressed(lambda data: isal_zlib.compress(data, 1))} |")
    print(f"| deflate: zlib level 1 | {compressed(lambda data: zlib.compress(data, 1))} |")
    print(f"| message | {_us(lambda: [to_message(f, planned, card) for f in finished]):.1f} | |")


if __name__ == "__main__":
    main()
