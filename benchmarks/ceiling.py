"""The ceiling: what plain onnxruntime gives with every core busy, and nothing else to do.

GANAGERIE_DEVICE=cuda measures it on the GPU, where the server then runs too: by two callers, of
whom one copies while the other computes.

`python -m benchmarks.ceiling ONNX SECONDS BATCH` prints images per second.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from zoo.runtime import Device, providers_for

DEVICE: Device = "cuda" if os.environ.get("GANAGERIE_DEVICE") == "cuda" else "cpu"  # the server's


def measure(path: Path, seconds: float, batch: int) -> float:
    """Images per second of one single-threaded session, called by a thread a core, or by two."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=providers_for(DEVICE))
    feeds = feeds_of(session, batch)
    session.run(None, feeds)
    start_s = time.perf_counter()
    images: list[int] = []

    def call() -> None:
        made = 0
        while time.perf_counter() - start_s < seconds:
            session.run(None, feeds)
            made += batch
        images.append(made)

    callers = 2 if DEVICE == "cuda" else len(os.sched_getaffinity(0))
    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(images) / (time.perf_counter() - start_s)


def feeds_of(session: onnxruntime.InferenceSession, batch: int) -> dict[str, NDArray[np.float32]]:
    """Latents; classes in turn and no truncation where the graph takes them."""
    shapes = {node.name: node.shape for node in session.get_inputs()}
    z = np.random.default_rng(0).standard_normal((batch, shapes["z"][1]))
    feeds = {"z": z.astype(np.float32)}
    if "class_weights" in shapes:
        n_classes = shapes["class_weights"][1]
        feeds["class_weights"] = np.eye(n_classes, dtype=np.float32)[np.arange(batch) % n_classes]
    if "truncation" in shapes:
        feeds["truncation"] = np.full(batch, np.inf, np.float32)
    return feeds


if __name__ == "__main__":
    print(measure(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
