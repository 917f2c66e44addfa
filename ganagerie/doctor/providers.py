"""Which of onnxruntime's execution providers can run a model here."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ganagerie.doctor.report import ProviderState
from zoo.errors import one_line
from zoo.runtime import CPU, CUDA, load_runtime, providers_for

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_MISSING = "Failed to load"
NOT_BUILT = "this onnxruntime was built without it"


def installed(*packages: str) -> dict[str, str | None]:
    """Versions by name; None for what is not there."""
    return {name: _version(name) for name in packages}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def states(content: bytes) -> list[ProviderState]:
    """The CPU's, CUDA's, and whatever else this build has that runs on its own.

    Args:
        content: an ONNX file to open with each of them.

    Raises:
        BackendError: onnxruntime is not installed.
    """
    runtime = load_runtime()
    built = runtime.get_available_providers()
    # Azure's sends tensors to a service, which is no way to run a model here.
    names = [CPU, CUDA, *(n for n in built if n not in {CPU, CUDA, "AzureExecutionProvider"})]
    return [_state(runtime, name, content, name in built) for name in names]


def _state(runtime: Any, name: str, content: bytes, built: bool) -> ProviderState:
    if not built:
        return ProviderState(name=name, loads=False, reason=NOT_BUILT)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    failed = "onnxruntime fell back to the CPU without saying why"
    # Python's part of onnxruntime prints what it fell back from.
    with _captured_stderr() as told, contextlib.redirect_stdout(io.StringIO()):
        try:
            # As a model is loaded: with CUDA's options, and whatever it needs beforehand.
            provider = providers_for("cuda")[0] if name == CUDA else name
            session = runtime.InferenceSession(content, options, providers=[provider])
            loads = session.get_providers()[0] == name
        except Exception as error:  # noqa: BLE001  onnxruntime's own; the reason is what is wanted
            loads, failed = False, one_line(error)
    return ProviderState(name=name, loads=loads, reason=None if loads else _cause(told[0], failed))


def _cause(told: str, otherwise: str) -> str:
    """The library that is missing, or the last line, of what onnxruntime wrote, in colours."""
    lines = [line.strip() for line in _COLOUR.sub("", told).splitlines() if line.strip()]
    missing = [line[line.find(_MISSING) :] for line in lines if _MISSING in line]
    return one_line(Exception((missing or lines[-1:] or [otherwise])[0]))


@contextmanager
def _captured_stderr() -> Iterator[list[str]]:
    """What native code writes to standard error: nowhere else is said why CUDA does not load."""
    told: list[str] = []
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                yield told
            finally:
                os.dup2(kept, 2)
                file.seek(0)
                told.append(file.read().decode(errors="replace"))
    finally:
        os.close(kept)
