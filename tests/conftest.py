"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import Running, server_in_thread
from tests.toys import write_toy

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("GANAGERIE_") and name != "GANAGERIE_DATA":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Data sets: the folder `GANAGERIE_DATA`, else `../shared/data`; skips where there is none."""
    folder = Path(os.environ.get("GANAGERIE_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "EMNIST" / "raw").is_dir():
        pytest.skip(f"no EMNIST/raw in {folder}; set GANAGERIE_DATA")
    return folder


@pytest.fixture(scope="session")
def toy_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models `plain` (in two versions), `letters` (classes A, B, C) and `colour` (RGB, classes)."""
    zoo = tmp_path_factory.mktemp("zoo")
    write_toy(zoo, "plain", version="1.9.0", folder="plain@1.9.0")
    write_toy(zoo, "plain", version="1.10.0")
    write_toy(zoo, "letters", classes=("A", "B", "C"))
    write_toy(zoo, "colour", classes=("red", "green"), channels=3)
    return zoo


@pytest.fixture(scope="session")
def toy_server(toy_zoo: Path) -> Iterator[Running]:
    """A server of the toy zoo, shared by tests that do not change it."""
    with server_in_thread(toy_zoo) as running:
        yield running
