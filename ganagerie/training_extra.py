"""Says in one line what to install where the training libraries are missing."""

from __future__ import annotations

import importlib.util

from zoo.errors import BackendError

_MODULES = ("torch", "torchvision", "onnx", "onnxscript", "yaml", "tensorboard", "matplotlib")


def require_training(command: str) -> None:
    """Checks that the `train` extra is installed, without importing it.

    Raises:
        BackendError: names what is missing and how to install it.
    """
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendError(
            f"ganagerie {command} needs {', '.join(missing)}: pip install 'ganagerie[train]'"
        )
