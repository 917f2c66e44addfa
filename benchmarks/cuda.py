"""What the CUDA provider's options cost and change: `python -m benchmarks.cuda`; needs a GPU.

Each model as it is served, with a session for each size of batch; then in one session for all
sizes, with the same options, with one of them changed at a time, and with CUDA graphs. Times are of
a whole run, from arrays to arrays, by one caller; "first" is the first run of a size of batch, when
cuDNN plans its convolutions, and "in turns" the mean of the sizes one after the other, again and
again. Images are compared with the CPU's, and those of a batch of 64 with the same ones made one by
one, and with themselves.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.ceiling import feeds_of
from benchmarks.machine import describe
from benchmarks.subjects import NAMES, subject
from zoo.execution import SIZES, Devices, Feeds, open_session
from zoo.runtime import CPU, CUDA, CUDA_OPTIONS, providers_for

_BATCHES = (1, 16, 64, 256)
_COMPARED = 64
_SERVED = "as served"
_VARIANTS: dict[str, dict[str, str]] = {
    _SERVED: {},
    "one session": {},
    "onnxruntime's defaults": dict.fromkeys(CUDA_OPTIONS, ""),
    "EXHAUSTIVE": {"cudnn_conv_algo_search": "EXHAUSTIVE"},
    "DEFAULT": {"cudnn_conv_algo_search": "DEFAULT"},
    "TF32": {"use_tf32": "1"},
    "NHWC": {"prefer_nhwc": "1"},
    "CUDA graphs": {"enable_cuda_graph": "1"},
}

Run = Callable[[Feeds], NDArray[np.uint8]]


class Captured:
    """A session whose runs are CUDA graphs, one for each size of batch."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._shape = session.get_outputs()[0].shape[1:]
        self._bound: dict[int, tuple[Any, dict[str, Any], Any, Any]] = {}

    def __call__(self, feeds: Feeds) -> NDArray[np.uint8]:
        """Images uint8 [N, H, W, C]."""
        n = len(feeds["z"])
        binding, inputs, output, options = self._bound.get(n) or self._bind(n, feeds)
        for name, rows in feeds.items():
            inputs[name].update_inplace(rows)
        self._session.run_with_iobinding(binding, options)
        images: NDArray[np.uint8] = output.numpy()
        return images

    def _bind(self, n: int, feeds: Feeds) -> tuple[Any, dict[str, Any], Any, Any]:
        value = onnxruntime.OrtValue
        inputs = {k: value.ortvalue_from_numpy(v, "cuda", 0) for k, v in feeds.items()}
        output = value.ortvalue_from_shape_and_type([n, *self._shape], np.uint8, "cuda", 0)
        binding = self._session.io_binding()
        for name, rows in inputs.items():
            binding.bind_ortvalue_input(name, rows)
        binding.bind_ortvalue_output("images", output)
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(n))
        self._bound[n] = (binding, inputs, output, options)
        return self._bound[n]


def opened(content: bytes, label: str) -> Run:
    """A way to run a model on the first GPU; an empty value leaves an option out."""
    changed = _VARIANTS[label]
    options = {k: v for k, v in {**CUDA_OPTIONS, **changed}.items() if v}
    count = len(SIZES) if label == _SERVED else 1
    sessions = [open_session(content, [(CUDA, options), CPU], 1) for _ in range(count)]
    if sessions[0].get_providers()[0] != CUDA:
        raise SystemExit("error: onnxruntime fell back to the CPU; see ganagerie doctor")
    if "enable_cuda_graph" in changed:
        return Captured(sessions[0])
    devices = Devices([sessions * (len(SIZES) // count)])
    return lambda feeds: devices.run(feeds, 0)


def timed(run: Run, feeds: Feeds, seconds: float) -> tuple[float, float]:
    """Milliseconds of the first run, and the median of those that follow."""
    took_ms: list[float] = []
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s or len(took_ms) < 4:
        started_s = time.perf_counter()
        run(feeds)
        took_ms.append((time.perf_counter() - started_s) * 1e3)
    return took_ms[0], statistics.median(took_ms[1:])


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> str:
    """The largest difference in grey levels, and the share of pixels that differ."""
    by = np.abs(one.astype(np.int16) - other.astype(np.int16))
    return f"{by.max()} ({(by > 0).mean():.1e})"


def in_turns(run: Run, batches: list[Feeds], seconds: float) -> float:
    """Milliseconds a run, when each has another size than the one before."""
    runs, started_s = 0, time.perf_counter()
    while (passed_s := time.perf_counter() - started_s) < seconds:
        for feeds in batches:
            run(feeds)
        runs += len(batches)
    return passed_s * 1e3 / runs


def row(content: bytes, label: str, seconds: float) -> str:
    """The cells of a variant."""
    on_cpu = open_session(content, [CPU], 1)
    run = opened(content, label)
    batches = [feeds_of(on_cpu, n) for n in _BATCHES]
    times = [timed(run, feeds, seconds) for feeds in batches]
    turns_ms = in_turns(run, batches, seconds)
    feeds = feeds_of(on_cpu, _COMPARED)
    together = run(feeds)
    again = run(feeds)
    single = [
        run({name: rows[i : i + 1] for name, rows in feeds.items()}) for i in range(_COMPARED)
    ]
    cells = [f"{first:.0f}" for first, _ in times] + [f"{ms:.2f}" for _, ms in times]
    cells.append(f"{turns_ms:.2f}")
    cells.append(apart(together, on_cpu.run(["images"], feeds)[0]))
    cells += [apart(together, np.concatenate(single)), apart(together, again)]
    return " | ".join(cells)


def main() -> None:
    """Measures and prints a table for docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each size of batch")
    options = parser.parse_args()
    providers_for("cuda")  # which loads its libraries
    print(f"{describe()}\n")
    sizes = [f"first {n}, ms" for n in _BATCHES] + [f"{n}, ms" for n in _BATCHES]
    heads = [
        "model",
        "options",
        *sizes,
        "in turns, ms",
        "off the CPU's",
        "off those alone",
        "off itself",
    ]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name in options.models:
        with subject(name) as it:
            content = (it.zoo / name / "generator.onnx").read_bytes()
            for label in _VARIANTS:
                try:
                    cells = row(content, label, options.seconds)
                except Exception as error:  # noqa: BLE001  onnxruntime's own; the others go on
                    cells = f"failed: {str(error).splitlines()[0][:300]}"
                print(f"| {name} | {label} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
