"""Executions: whichever runs a graph, in whichever lane and batch, the images are the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import zoo.execution
from tests.toys import Z_DIM, write_toy
from zoo.catalog import BUNDLED, Catalog
from zoo.execution import Devices, Execution, Feeds, Pooled, SingleThreaded, open_session
from zoo.generator import load_generator
from zoo.latents import latents
from zoo.runtime import CPU

MOST = 48


def content_of(name: str) -> bytes:
    entry = Catalog.open(BUNDLED).resolve(name)
    return (entry.folder / entry.card.artifact.file).read_bytes()


def feeds_of(name: str) -> Feeds:
    card = Catalog.open(BUNDLED).resolve(name).card
    feeds = {"z": latents(range(MOST), [None] * MOST, card.latent.dim)}
    if card.classes:
        n = len(card.class_names)
        feeds["class_weights"] = np.eye(n, dtype=np.float32)[np.arange(MOST) % n]
        feeds["truncation"] = np.linspace(0.1, 3, MOST, dtype=np.float32)
    return feeds


def part(feeds: Feeds, start: int, stop: int) -> Feeds:
    return {name: rows[start:stop] for name, rows in feeds.items()}


@pytest.mark.parametrize("name", ["dcgan-emnist", "biggan-emnist"])
def test_images_are_the_same_in_every_lane_and_batch(name: str) -> None:
    content, feeds = content_of(name), feeds_of(name)
    expected = SingleThreaded(open_session(content, [CPU], 1), 1).run(feeds, 0)
    executions: list[Execution] = [
        SingleThreaded(open_session(content, [CPU], 1), 2),
        *(Pooled(open_session(content, [CPU], cores), cores) for cores in (2, 3)),
        Devices([open_session(content, [CPU], 1)]),
    ]
    for execution in executions:
        for lane in range(execution.lanes):
            for start, stop in ((0, 1), (1, 4), (4, 20), (20, MOST)):
                images = execution.run(part(feeds, start, stop), lane)
                assert np.array_equal(images, expected[start:stop])


@pytest.mark.parametrize("cores", [2, 4])
def test_lanes_that_run_at_once_do_not_disturb_each_other(cores: int) -> None:
    content, feeds = content_of("biggan-emnist"), feeds_of("biggan-emnist")
    execution = Pooled(open_session(content, [CPU], cores), cores)
    expected = execution.run(feeds, 0)
    together = threading.Barrier(cores)

    def run(lane: int) -> list[NDArray[np.uint8]]:
        together.wait(10)
        return [execution.run(part(feeds, i, i + lane + 1), lane) for i in range(30)]

    with ThreadPoolExecutor(cores) as threads:
        for lane, made in enumerate(threads.map(run, range(cores))):
            for i, images in enumerate(made):
                assert np.array_equal(images, expected[i : i + lane + 1])


@pytest.mark.parametrize("lane", [0, 1])
def test_what_a_lane_cannot_run_is_an_error_and_the_lane_goes_on(tmp_path: Path, lane: int) -> None:
    write_toy(tmp_path, "toy")
    execution = Pooled(open_session((tmp_path / "toy/generator.onnx").read_bytes(), [CPU], 2), 2)
    with pytest.raises(Exception, match="Got invalid dimensions for input"):
        execution.run({"z": np.zeros((1, Z_DIM + 1), np.float32)}, lane)
    assert execution.run({"z": np.zeros((2, Z_DIM), np.float32)}, lane).shape == (2, 12, 12, 1)


@pytest.mark.parametrize(
    ("worth_s", "cores", "kind"),
    [(0.0, 2, Pooled), (60.0, 2, SingleThreaded), (0.0, 1, SingleThreaded)],
)
def test_a_pool_is_for_graphs_that_take_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worth_s: float, cores: int, kind: type
) -> None:
    write_toy(tmp_path, "toy", classes=("A", "B"))
    monkeypatch.setattr(zoo.execution, "_WORTH_HELP_S", worth_s)
    execution = load_generator(Catalog.open(tmp_path).resolve("toy"), "cpu", cores).execution
    assert isinstance(execution, kind)
    assert (execution.lanes, execution.provider) == (cores, CPU)


def test_a_generator_has_as_many_lanes_as_cores(tmp_path: Path) -> None:
    write_toy(tmp_path, "toy")
    entry = Catalog.open(tmp_path).resolve("toy")
    assert load_generator(entry, "cpu").execution.lanes == 1
    generator = load_generator(entry, "cpu", cores=3)
    assert generator.execution.lanes == 3
    made = [generator.generate(range(5), [None] * 5, lane=lane) for lane in range(3)]
    assert all(np.array_equal(images, made[0]) for images in made)


@pytest.mark.parametrize(
    ("n", "padded_to"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (17, 32), (48, 64)]
)
def test_batches_on_devices_are_padded_to_a_power_of_two(n: int, padded_to: int) -> None:
    rows = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    padded = zoo.execution.padded(rows)
    assert padded.shape == (padded_to, 2)
    assert np.array_equal(padded[:n], rows)
    assert np.array_equal(padded[n:], np.repeat(rows[-1:], padded_to - n, axis=0))


def test_each_device_is_a_lane(tmp_path: Path) -> None:
    write_toy(tmp_path, "one")
    write_toy(tmp_path, "other", side=6)
    contents = [(tmp_path / name / "generator.onnx").read_bytes() for name in ("one", "other")]
    devices = Devices([open_session(content, [CPU], 1) for content in contents])
    assert (devices.lanes, devices.provider) == (2, CPU)
    feeds = {"z": np.zeros((3, Z_DIM), np.float32)}
    shapes = [devices.run(feeds, lane).shape for lane in range(2)]
    assert shapes == [(3, 12, 12, 1), (3, 6, 6, 1)]
