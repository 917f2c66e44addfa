"""What tests of networks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.nn.utils import parametrizations


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Networks without memory, nor spectral norm: it has no parameters, and costs seconds here."""
    monkeypatch.setattr(parametrizations, "spectral_norm", lambda layer, **_: layer)
    with torch.device("meta"):
        yield
