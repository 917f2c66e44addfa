"""How a graph is run: sessions, threads and devices; one copy of the weights on each device.

An execution has lanes, which may run at the same time, each from a thread of its own.

On a CPU there is a lane a core. Of a session whose pool has a thread for each further core, lane 0
calls `run` on its own thread: pool threads that have nothing to do help it, so a lone image gets
all cores. Other lanes call `run_async`, which computes *on* a pool thread: while they are busy
nobody helps anybody, and each batch has one core. Small graphs lose more by the hand-overs than
they gain by the help; they get a single-threaded session, which all lanes call.

On GPUs there is a lane a device, with a session for each of a few sizes of batch, up to which
batches are padded: onnxruntime plans every convolution anew, for tens of milliseconds in all,
whenever a session's batch has another size than the one before.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from zoo.runtime import CPU, load_runtime

if TYPE_CHECKING:
    import onnxruntime

Feeds = dict[str, NDArray[np.float32]]
# From here on, hand-over included, a lone image is worth the help of other cores: one of 17 ms
# takes 11 with a second core, and throughput stays; one of 1.4 ms takes 1.1, but a server under
# load then makes a sixth less (docs/benchmarks.md).
_WORTH_HELP_S = 4e-3
SIZES: Final = (1, 4, 16, 64, 256)  # of the batches on a GPU; each has a copy of the weights


class Execution(Protocol):
    """A graph that is ready to run.

    Attributes:
        provider: the execution provider that runs it, e.g. `CPUExecutionProvider`.
        lanes: how many callers may run it at once.
        kinds: of lanes; lane `kinds - 1` and those behind it compute alike.
    """

    provider: str
    lanes: int
    kinds: int

    def run(self, feeds: Feeds, lane: int) -> NDArray[np.uint8]:
        """Images uint8 [N, H, W, C]; feeds are [N, ...]; a lane has one caller at a time."""
        ...

    def fit(self, n: int) -> int:
        """How many of `n` images that wait are best run at once; at most n, and 0 of none."""
        return n


class SingleThreaded(Execution):
    """One session on the CPU, each call on its caller's thread alone."""

    provider = CPU
    kinds = 1

    def __init__(self, session: onnxruntime.InferenceSession, lanes: int) -> None:
        self.lanes = lanes
        self._session = session

    def run(self, feeds: Feeds, lane: int) -> NDArray[np.uint8]:
        """See `Execution`; any number of callers in a lane."""
        images: NDArray[np.uint8] = self._session.run(["images"], feeds)[0]
        return images


class Pooled(Execution):
    """One session on the CPU whose pool has `lanes - 1` threads; at least 2 lanes."""

    provider = CPU
    kinds = 2

    def __init__(self, session: onnxruntime.InferenceSession, lanes: int) -> None:
        self.lanes = lanes
        self._session = session

    def run(self, feeds: Feeds, lane: int) -> NDArray[np.uint8]:
        """See `Execution`; any number of callers in a lane."""
        images: NDArray[np.uint8]
        if lane == 0:
            images = self._session.run(["images"], feeds)[0]
            return images
        ended: list[tuple[list[Any], str]] = []
        finished = threading.Event()

        def end(results: list[Any], _: None, error: str) -> None:
            ended.append((results, error))
            finished.set()

        self._session.run_async(["images"], feeds, end, None)
        finished.wait()
        (results, error), *_ = ended
        if error:
            raise RuntimeError(error)
        images = results[0]
        return images


class Devices(Execution):
    """Several GPUs; each with a session for every one of `SIZES`, in that order."""

    def __init__(self, devices: Sequence[Sequence[onnxruntime.InferenceSession]]) -> None:
        self.provider = str(devices[0][0].get_providers()[0])
        self.lanes = self.kinds = len(devices)
        self._devices = devices

    def run(self, feeds: Feeds, lane: int) -> NDArray[np.uint8]:
        """See `Execution`; more images than the largest size holds take several runs."""
        n, most = len(feeds["z"]), SIZES[-1]
        parts = [{k: v[i : i + most] for k, v in feeds.items()} for i in range(0, n, most)]
        images = [self._run(part, self._devices[lane]) for part in parts]
        return images[0] if len(images) == 1 else np.concatenate(images)

    def fit(self, n: int) -> int:
        """See `Execution`: all if they fill at least half of a size, else those that fill one."""
        fits_into = next((size for size in SIZES if size >= n), math.inf)
        return n if 2 * n >= fits_into else max((size for size in SIZES if size <= n), default=0)

    def _run(
        self, feeds: Feeds, sessions: Sequence[onnxruntime.InferenceSession]
    ) -> NDArray[np.uint8]:
        n = len(feeds["z"])
        size, session = next(pair for pair in zip(SIZES, sessions, strict=True) if pair[0] >= n)
        binding = session.io_binding()
        for name, rows in feeds.items():
            binding.bind_cpu_input(name, padded(rows, size))
        binding.bind_output("images")  # in memory that the provider copies to, and we read
        session.run_with_iobinding(binding)
        images: NDArray[np.uint8] = binding.copy_outputs_to_cpu()[0]
        return images[:n]


def padded(rows: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Rows [N, ...] and copies of the last one, `size` in all."""
    return np.pad(rows, [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1), mode="edge")


def is_worth_help(session: onnxruntime.InferenceSession) -> bool:
    """Whether a lone image takes so long that a pool should help with it.

    Args:
        session: of the graph, on the CPU, single-threaded.
    """
    execution, feeds = SingleThreaded(session, 1), lone_feeds(session)
    return all(_seconds(execution, feeds) >= _WORTH_HELP_S for _ in range(3))


def _seconds(execution: Execution, feeds: Feeds) -> float:
    started_s = time.perf_counter()
    execution.run(feeds, 0)
    return time.perf_counter() - started_s


def lone_feeds(session: onnxruntime.InferenceSession) -> Feeds:
    """Zeros for one image: onnxruntime's work does not depend on the numbers."""
    return {
        node.name: np.zeros([1, *node.shape[1:]], np.float32)  # its other sizes are fixed
        for node in session.get_inputs()
    }


def open_session(
    content: bytes, providers: Sequence[Any], threads: int
) -> onnxruntime.InferenceSession:
    """A session on the bytes of a model.

    Args:
        content: the ONNX file.
        providers: execution providers in order of preference, as onnxruntime takes them.
        threads: how many compute a call on the CPU, the caller among them.
    """
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin for work take the cores from those who have some.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A plan of the memory for every size of batch that comes along would be kept.
    options.enable_mem_pattern = False
    # A graph may name other files for its weights; none of those was checked.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", os.devnull
    )
    options.log_severity_level = 3  # errors; warnings about graph details are not for operators
    return runtime.InferenceSession(content, options, providers=providers)
