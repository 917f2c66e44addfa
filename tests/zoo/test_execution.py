"""Executions: whichever runs a graph, in whichever lane and batch, the images are the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

import zoo.execution
from tests.toys import Z_DIM, write_toy
from zoo.catalog import BUNDLED, Catalog
from zoo.execution import SIZES, Devices, Execution, Feeds, Pooled, SingleThreaded, open_session
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


def on_device(content: bytes) -> list[onnxruntime.InferenceSession]:
    """The sessions of a device, on the CPU."""
    return [open_session(content, [CPU], 1) for _ in SIZES]


def part(feeds: Feeds, start: int, stop: int) -> Feeds:
    return {name: rows[start:stop] for name, rows in feeds.items()}


@pytest.mark.parametrize("name", ["dcgan-emnist", "biggan-emnist"])
def test_images_are_the_same_in_every_lane_and_batch(name: str) -> None:
    content, feeds = content_of(name), feeds_of(name)
    expected = SingleThreaded(open_session(content, [CPU], 1), 1).run(feeds, 0)
    executions: list[Execution] = [
        SingleThreaded(open_session(content, [CPU], 1), 2),
        *(Pooled(open_session(content, [CPU], cores), cores) for cores in (2, 3)),
        Devices([on_device(content)]),
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


@pytest.mark.parametrize(("n", "size"), [(1, 1), (2, 4), (3, 4), (4, 4), (17, 64)])
def test_batches_on_devices_are_padded(n: int, size: int) -> None:
    rows = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    padded = zoo.execution.padded(rows, size)
    assert padded.shape == (size, 2)
    assert np.array_equal(padded[:n], rows)
    assert np.array_equal(padded[n:], np.repeat(rows[-1:], size - n, axis=0))


class _Binding:
    """What onnxruntime's binding does, and which sizes of batch it was given."""

    def __init__(self, session: Any, sizes: list[int]) -> None:
        self._real, self._sizes = session.io_binding(), sizes
        self.bind_output, self.copy_outputs_to_cpu = (
            self._real.bind_output,
            self._real.copy_outputs_to_cpu,
        )

    def bind_cpu_input(self, name: str, rows: NDArray[np.float32]) -> None:
        self._sizes.append(len(rows))
        self._real.bind_cpu_input(name, rows)

    def run(self, session: Any) -> None:
        session.run_with_iobinding(self._real)


class _Session:
    """A session that keeps the sizes of the batches that it has run."""

    def __init__(self, content: bytes) -> None:
        self._real = open_session(content, [CPU], 1)
        self.sizes: list[int] = []
        self.get_providers = self._real.get_providers

    def io_binding(self) -> _Binding:
        return _Binding(self._real, self.sizes)

    def run_with_iobinding(self, binding: _Binding) -> None:
        binding.run(self._real)


def test_each_session_on_a_device_sees_batches_of_one_size(tmp_path: Path) -> None:
    write_toy(tmp_path, "toy")
    content = (tmp_path / "toy/generator.onnx").read_bytes()
    sessions = [_Session(content) for _ in SIZES]
    z = np.random.default_rng(0).standard_normal((600, Z_DIM)).astype(np.float32)
    expected = SingleThreaded(open_session(content, [CPU], 1), 1).run({"z": z}, 0)
    devices = Devices([sessions])
    for n in (1, 2, 3, 4, 5, 16, 17, 64, 65, 256, 257, 600):
        assert np.array_equal(devices.run({"z": z[:n]}, 0), expected[:n])
    assert [set(session.sizes) for session in sessions] == [{size} for size in SIZES]


def test_each_device_is_a_lane(tmp_path: Path) -> None:
    write_toy(tmp_path, "one")
    write_toy(tmp_path, "other", side=6)
    contents = [(tmp_path / name / "generator.onnx").read_bytes() for name in ("one", "other")]
    devices = Devices([on_device(content) for content in contents])
    assert (devices.lanes, devices.kinds, devices.provider) == (2, 2, CPU)
    feeds = {"z": np.zeros((3, Z_DIM), np.float32)}
    shapes = [devices.run(feeds, lane).shape for lane in range(2)]
    assert shapes == [(3, 12, 12, 1), (3, 6, 6, 1)]


def test_a_batch_on_a_device_fills_half_of_a_size_or_is_a_smaller_one(tmp_path: Path) -> None:
    write_toy(tmp_path, "toy")
    devices = Devices([on_device((tmp_path / "toy/generator.onnx").read_bytes())])
    waiting = [0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 257, 1000]
    taken = [0, 1, 2, 3, 4, 4, 4, 8, 15, 16, 16, 32, 63, 64, 64, 128, 255, 256, 256, 256]
    assert [devices.fit(n) for n in waiting] == taken
    assert all(SingleThreaded(None, 1).fit(n) == n for n in waiting)
