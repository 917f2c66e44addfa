"""Several pulls of one model into one zoo: one of them fetches, none disturbs it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'ganagerie[hub]'")

from ganagerie.errors import HubError
from ganagerie.hub.pull import pull
from ganagerie.hub.source import Source
from tests.ganagerie.model_host import Host, model_host
from tests.toys import write_toy
from zoo.card import Card
from zoo.catalog import Catalog


@pytest.fixture
def card(tmp_path: Path) -> Card:
    return write_toy(tmp_path / "www", "letters", classes=("A", "B"))


@pytest.fixture
def host(tmp_path: Path, card: Card) -> Iterator[Host]:
    with model_host(tmp_path / "www") as host:
        yield host


def until_it_asks_for_the_graph(host: Host) -> None:
    until_s = time.monotonic() + 30
    while not any(path.endswith(".onnx") for _, path, _ in host.asked):
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_the_second_is_refused_and_the_first_goes_on(
    host: Host, card: Card, tmp_path: Path
) -> None:
    source, zoo = Source(f"{host.url}/letters"), tmp_path / "zoo"
    staging = zoo / f".pull-{card.artifact.sha256[:16]}"
    host.free.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(pull, source, zoo)
        until_it_asks_for_the_graph(host)
        with pytest.raises(HubError) as refused:
            pull(source, zoo)
        host.free.set()
        assert first.result(30) == (card, zoo / "letters@1.0.0", True)
    assert str(refused.value) == f"{staging}: another pull is fetching this model; wait for it"
    assert [path.name for path in zoo.iterdir()] == ["letters@1.0.0"]


def test_a_folder_that_got_its_name_before_it_was_locked_is_left_alone(
    host: Host, card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, zoo = Source(f"{host.url}/letters"), tmp_path / "zoo"
    staging, lock = zoo / f".pull-{card.artifact.sha256[:16]}", fcntl.flock

    def late(descriptor: int, how: int) -> None:
        staging.rename(zoo / "elsewhere")
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(HubError) as refused:
        pull(source, zoo)
    assert str(refused.value) == (
        f"{staging}: another pull of this model has just ended; the same command says how"
    )
    assert [path.name for path in zoo.iterdir()] == ["elsewhere"]


def test_a_model_that_came_just_before_the_lock_is_not_fetched_again(
    host: Host, card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, zoo, lock = Source(f"{host.url}/letters"), tmp_path / "zoo", fcntl.flock

    def late(descriptor: int, how: int) -> None:
        write_toy(zoo, "letters", classes=("A", "B"))
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert pull(source, zoo) == (card, zoo / "letters", False)
    assert [path.name for path in zoo.iterdir()] == ["letters"]
    assert not any(path.endswith(".onnx") for _, path, _ in host.asked)


def test_all_is_on_the_disk_before_it_gets_its_name(
    host: Host, card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, sync = [], os.fsync

    def seen(descriptor: int) -> None:
        sync(descriptor)
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", seen)
    pull(Source(f"{host.url}/letters"), tmp_path / "zoo")
    assert synced == ["generator.onnx.part", "card.json", f".pull-{card.artifact.sha256[:16]}"]
    assert len(Catalog.open(tmp_path / "zoo").entries) == 1


def test_a_full_disk_here_is_not_blamed_on_the_other_side(host: Host) -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device$"),
    ):
        Source(f"{host.url}/letters").copy("generator.onnx", 0, 2**31, full.write)
