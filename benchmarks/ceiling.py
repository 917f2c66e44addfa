"""The ceiling: what plain onnxruntime gives with every core busy, and nothing else to do.

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


def measure(path: Path, seconds: float, batch: int) -> float:
    """Images per second of one single-threaded session, called by one thread a core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    z_dim = session.get_inputs()[0].shape[1]
    z = np.random.default_rng(0).standard_normal((batch, z_dim)).astype(np.float32)
    session.run(None, {"z": z})
    start_s = time.perf_counter()
    images: list[int] = []

    def call() -> None:
        made = 0
        while time.perf_counter() - start_s < seconds:
            session.run(None, {"z": z})
            made += batch
        images.append(made)

    threads = [threading.Thread(target=call) for _ in os.sched_getaffinity(0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(images) / (time.perf_counter() - start_s)


if __name__ == "__main__":
    print(measure(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
