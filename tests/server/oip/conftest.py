"""Fixtures of the Open Inference Protocol's tests."""

from __future__ import annotations

import pytest

from tests.server.calls import Stubs
from tests.server.oip.calls import Oip


@pytest.fixture(scope="session")
def oip(stubs: Stubs) -> Oip:
    """Calls the shared server of the toy zoo."""
    return Oip(stubs)
