"""All tests of this folder need a GPU."""

from __future__ import annotations

import pytest

from ganagerie.doctor import machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips them where nvidia-smi lists no GPU."""
    here = [item for item in items if item.path.is_relative_to(__file__.rpartition("/")[0])]
    if here and not machine.gpus():
        for item in here:
            item.add_marker(pytest.mark.skip(reason="nvidia-smi lists no GPU"))
