"""`ganagerie sample --ray`: the same set from a cluster, here of one machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.toys import write_toy

NEEDS_RAY = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray, which is heavy: make ray-check"
)
SAMPLE = [sys.executable, "-m", "ganagerie.cli", "sample", "slow", "--batch", "8"]
COUNT = 1200


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is slow enough to be stopped."""
    zoo = tmp_path_factory.mktemp("zoo")
    write_toy(zoo, "slow", classes=("A", "B"), hidden=1536)
    return zoo


@pytest.fixture
def environment(zoo: Path) -> Iterator[dict[str, str]]:
    """For commands whose cluster keeps its files apart."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # socket paths are short
    ray = {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    yield os.environ | ray | {"GANAGERIE_ZOO": str(zoo), "PYTHONPATH": str(REPOSITORY)}
    shutil.rmtree(folder, ignore_errors=True)


def sample(
    folder: Path, environment: dict[str, str], *options: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SAMPLE, "-n", str(COUNT), *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def images(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}


@NEEDS_RAY
def test_set_that_is_stopped_and_gone_on_with_has_the_bytes_of_one_machine(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    alone = sample(tmp_path, environment, "-o", "alone")
    assert alone.returncode == 0, alone.stderr
    command = [*SAMPLE, "-n", str(COUNT), "-o", "spread", "--ray"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline_s = time.monotonic() + 240
        while not (begun := images(tmp_path / "spread")):
            assert process.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "the same command goes on from there" in err
    some = images(tmp_path / "spread")
    assert begun.keys() <= some.keys()
    assert len(some) < COUNT
    rest = sample(tmp_path, environment, "-o", "spread", "--ray")
    assert rest.returncode == 0, rest.stderr
    assert f"({COUNT - len(some):,} made now, " in rest.stderr
    assert images(tmp_path / "spread") == images(tmp_path / "alone")
    records = [(tmp_path / name / "sample.json").read_text() for name in ("alone", "spread")]
    assert records[0] == records[1]


@NEEDS_RAY
def test_cluster_that_is_not_there(tmp_path: Path, environment: dict[str, str]) -> None:
    done = sample(tmp_path, environment | {"RAY_ADDRESS": "nonsense"}, "-o", "set", "--ray")
    assert (done.returncode, done.stderr) == (
        2,
        "error: no Ray cluster: Invalid address format: nonsense; RAY_ADDRESS names one, "
        "without it one is started\n",
    )


@NEEDS_RAY
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="needs no GPU")
def test_cluster_without_the_gpu_that_is_asked_for(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    done = sample(tmp_path, environment, "-o", "set", "--ray", "--device", "cuda")
    assert (done.returncode, done.stderr) == (
        2,
        "error: the Ray cluster has no GPU: add a machine that has one, "
        "or leave out --device cuda\n",
    )


# A cluster whose only core is taken; prints its address.
BUSY_CLUSTER = """
import ray, time
context = ray.init(num_cpus=1, log_to_driver=False)
class Holder:
    def is_there(self):
        return True
holder = ray.remote(num_cpus=1)(Holder).remote()
ray.get(holder.is_there.remote())
print(context.address_info["address"], flush=True)
time.sleep(600)
"""


@NEEDS_RAY
def test_one_ctrl_c_ends_the_wait_for_a_busy_cluster(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", BUSY_CLUSTER], env=environment, stdout=subprocess.PIPE, text=True
    )
    with holder:
        try:
            assert holder.stdout is not None
            there = environment | {"RAY_ADDRESS": holder.stdout.readline().strip()}
            command = [*SAMPLE, "-n", str(COUNT), "-o", "set", "--ray"]
            with subprocess.Popen(
                command, cwd=tmp_path, env=there, stderr=subprocess.PIPE, text=True
            ) as process:
                try:
                    until_it_handles_signals(process.pid)
                    process.send_signal(signal.SIGINT)
                    _, err = process.communicate(timeout=120)
                finally:
                    process.kill()
        finally:
            holder.send_signal(signal.SIGINT)  # ends the cluster with it
    assert process.returncode == 130, err
    assert f"stopped: 0 of {COUNT:,} images are in set" in err


def until_it_handles_signals(pid: int) -> None:
    """SIGTERM is one that Python leaves alone."""
    deadline_s = time.monotonic() + 120
    while True:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        (caught,) = (line for line in status.splitlines() if line.startswith("SigCgt:"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_it_says_what_to_install(tmp_path: Path, zoo: Path) -> None:
    done = sample(tmp_path, os.environ | {"GANAGERIE_ZOO": str(zoo)}, "-o", "set", "--ray")
    assert (done.returncode, done.stderr) == (
        2,
        "error: --ray needs Ray, which is not there: pip install 'ganagerie[ray]', "
        "or leave it out\n",
    )
    assert not (tmp_path / "set").exists()


def test_threads_are_for_one_machine(tmp_path: Path, zoo: Path) -> None:
    settings = os.environ | {"GANAGERIE_ZOO": str(zoo)}
    done = sample(tmp_path, settings, "-o", "set", "--ray", "--threads", "2")
    assert (done.returncode, done.stderr) == (
        2,
        "error: --threads: leave it out with --ray, which uses the whole cluster\n",
    )
