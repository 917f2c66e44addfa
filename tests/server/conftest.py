"""Fixtures of the server's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.gate import Gate
from tests.server.calls import Stubs, connect
from tests.server.keyed_calls import KEYS
from tests.server.loads import Loads
from tests.serving import Running, server_in_thread
from tests.toys import write_toy

if TYPE_CHECKING:
    from tests.server.collector import Collector


@pytest.fixture(scope="session")
def stubs(toy_server: Running) -> Iterator[Stubs]:
    """Calls the shared server of the toy zoo."""
    with connect(toy_server.grpc) as stubs:
        yield stubs


@pytest.fixture(scope="session")
def noise_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model, `noise`: 256x256 grey, which no encoding makes smaller."""
    zoo = tmp_path_factory.mktemp("noise-zoo")
    write_toy(zoo, "noise", side=256)
    return zoo


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Stands before every generator; opened at the end, so that servers can drain.

    Name it before the fixture of the server that it holds up.
    """
    gate = Gate(monkeypatch)
    yield gate
    gate.failure = ""
    gate.open()


@pytest.fixture
def gated_server(gate: Gate, toy_zoo: Path) -> Iterator[Running]:
    """A server of the toy zoo, one runner a model, that stops at the gate."""
    limits = {"runners": 1, "max_batch": 8, "max_count": 100, "max_queue_images": 100}
    with server_in_thread(toy_zoo, **limits) as running:
        yield running
        gate.open()


@pytest.fixture
def gated(gated_server: Running) -> Iterator[Stubs]:
    """Calls the gated server."""
    with connect(gated_server.grpc) as stubs:
        yield stubs


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text(KEYS)
    return file


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """An OpenTelemetry collector, which servers that trace will find."""
    from tests.server.collector import collecting  # of an extra that most tests do without

    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")  # milliseconds
        yield collector


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loads]:
    """Stands before every load; let go on at the end, so that servers can stop.

    Name it before the fixture of the server that it holds up.
    """
    loads = Loads(monkeypatch)
    yield loads
    loads.go_on()


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """A zoo to be changed, with nothing in it yet."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    return folder
