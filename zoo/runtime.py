"""onnxruntime, and which of its execution providers a device means."""

from __future__ import annotations

import contextlib
import io
from typing import Any, Literal

from zoo.errors import BackendError

Device = Literal["auto", "cpu", "cuda"]

Provider = str | tuple[str, dict[str, str]]
"""An execution provider as onnxruntime takes it: its name, or its name and its options."""

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

# onnxruntime's defaults, but for what is named here; docs/decisions/0014 has the sources.
CUDA_OPTIONS = {
    # EXHAUSTIVE, the default, looks for algorithms anew whenever a batch has another size, and may
    # find others the next time, with other roundings. DEFAULT may leave cuDNN's own for slow ones.
    "cudnn_conv_algo_search": "HEURISTIC",
    # The default doubles the memory at each extension; a zoo's models share one GPU.
    "arena_extend_strategy": "kSameAsRequested",
    # TF32, on by default, keeps 10 bits of a factor: images are further from the CPU's.
    "use_tf32": "0",
}


_ERROR = 3  # of onnxruntime's severities; below it CUDA's provider writes about itself


def load_runtime() -> Any:
    """Imports onnxruntime.

    Raises:
        BackendError: it is not installed; says what to install.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(
            "onnxruntime is not installed: pip install 'ganagerie[cpu]' for CPUs, "
            "or 'ganagerie[gpu]' for CUDA (one of them, not both)"
        ) from error
    onnxruntime.set_default_logger_severity(_ERROR)
    return onnxruntime


def providers_for(device: Device, tf32: bool = False) -> list[Provider]:
    """Execution providers in order of preference, with the options that they get.

    CUDA's libraries are loaded where it is one of them.

    Args:
        device: `auto` takes CUDA where it works and the CPU otherwise; `cuda` does not fall back.
        tf32: whether CUDA may multiply with 10 bits of a factor.

    Raises:
        BackendError: `cuda` with an onnxruntime that was built without it.
    """
    runtime = load_runtime()
    available = runtime.get_available_providers()
    if device == "cuda" and CUDA not in available:
        raise BackendError(
            f"device cuda: this onnxruntime has only {', '.join(available)}; "
            "install 'ganagerie[gpu]' in place of 'ganagerie[cpu]', or use --device cpu"
        )
    if device == "cpu" or CUDA not in available:
        return [CPU]
    _load_cuda(runtime)
    return [(CUDA, {**CUDA_OPTIONS, "use_tf32": str(int(tf32))}), CPU]


def _load_cuda(runtime: Any) -> None:
    """From the packages that the extra `gpu` brings, else from the system.

    What cannot be loaded is no error here: the session then falls back, which its caller judges.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it prints, and an image may go to stdout
        runtime.preload_dlls()
