"""All tests of this folder need a GPU, and packages that use it."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch

from ganagerie.doctor import machine
from zoo.runtime import CUDA


def _missing() -> str | None:
    if not machine.gpus():
        return "nvidia-smi lists no GPU"
    if CUDA not in onnxruntime.get_available_providers() or not torch.cuda.is_available():
        return "there is a GPU, but onnxruntime or torch is a build for CPUs: make gpu-check"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips them where something is missing."""
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    reason = _missing() if here else None
    if reason:
        for item in here:
            item.add_marker(pytest.mark.skip(reason=reason))
