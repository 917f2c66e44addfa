"""`ganagerie sample` that is stopped, killed, or runs out of disk: the same bytes in the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.toys import write_toy

SAMPLE = [sys.executable, "-m", "ganagerie.cli", "sample"]
COUNT = 1600
OUTPUTS = ("set", "set.zip", "set.tar")


@pytest.fixture(scope="module")
def slow_zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of which 1,600 images take a second or two."""
    zoo = tmp_path_factory.mktemp("slow")
    write_toy(zoo, "slow", classes=("A", "B"), hidden=1536)
    return zoo


@pytest.fixture(scope="module")
def whole(slow_zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sets of runs that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    for output in OUTPUTS:
        done = _sample(slow_zoo, folder, output)
        assert done.returncode == 0, done.stderr
    return folder


def _command(zoo: Path, output: str) -> list[str]:
    return [*SAMPLE, "slow", "-n", str(COUNT), "-o", output, "--zoo", str(zoo), "--batch", "32"]


def _sample(zoo: Path, folder: Path, output: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(zoo, output), cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def _contents(folder: Path, output: str) -> dict[str, bytes]:
    """Everything that belongs to one set."""
    ours = {Path(output).suffix, ".part"}
    found = [p for p in folder.rglob("*") if p.is_file()]
    if output == "set":
        found = [p for p in found if p.suffix == ".png"]
    else:
        found = [p for p in found if p.parent == folder and p.suffix in ours]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


@contextmanager
def _under_way(zoo: Path, folder: Path, output: str) -> Iterator[subprocess.Popen[str]]:
    """A run that has kept some images, and not all."""
    process = subprocess.Popen(_command(zoo, output), cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        until_s = time.monotonic() + 60
        while sum(map(len, _contents(folder, output).values())) < 32 * 200:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until_s
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("output", OUTPUTS)
def test_stopped_and_gone_on_with(slow_zoo: Path, whole: Path, tmp_path: Path, output: str) -> None:
    with _under_way(slow_zoo, tmp_path, output) as process:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping: finishing what is in hand (press Ctrl-C again to exit at once)" in told
    assert f" of 1,600 images are in {output} (" in told
    assert told.endswith("the same command goes on from there\n")
    if output == "set.zip":
        with zipfile.ZipFile(tmp_path / "set.zip.part") as archive:  # can be read already
            assert 0 < len(archive.namelist()) < COUNT
            assert archive.testzip() is None
        assert not (tmp_path / "set.zip").exists()
    done = _sample(slow_zoo, tmp_path, output)
    assert done.returncode == 0, done.stderr
    assert f"1,600 of slow@1.0.0, seed 0 to 1599: {output} (" in done.stderr
    assert "1,600 made now" not in done.stderr or output == "set.tar"
    assert _contents(tmp_path, output) == _contents(whole, output)


@pytest.mark.parametrize("output", OUTPUTS)
def test_killed_and_gone_on_with(slow_zoo: Path, whole: Path, tmp_path: Path, output: str) -> None:
    with _under_way(slow_zoo, tmp_path, output) as process:
        process.kill()
    done = _sample(slow_zoo, tmp_path, output)
    assert done.returncode == 0, done.stderr
    assert _contents(tmp_path, output) == _contents(whole, output)


def test_damage_at_the_end_of_an_unfinished_zip_is_made_again(
    slow_zoo: Path, whole: Path, tmp_path: Path
) -> None:
    content = (whole / "set.zip").read_bytes()
    shutil.copy(whole / "set.zip.json", tmp_path)
    flipped = bytearray(content[: len(content) // 2])
    flipped[-2000] ^= 1
    (tmp_path / "set.zip.part").write_bytes(flipped)
    done = _sample(slow_zoo, tmp_path, "set.zip")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "set.zip").read_bytes() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set.zip", "set.zip.json"]


def test_images_that_were_taken_away_are_made_again(
    slow_zoo: Path, whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole / "set", tmp_path / "set")
    (tmp_path / "set/A/000000.png").unlink()
    (tmp_path / "set/B/001301.png").write_bytes(b"")
    (tmp_path / "set/B/001599.png").unlink()
    done = _sample(slow_zoo, tmp_path, "set")
    assert done.returncode == 0
    assert "(3 made now, " in done.stderr
    assert _contents(tmp_path, "set") == _contents(whole, "set")


def test_a_second_run_of_the_same_set_is_refused(slow_zoo: Path, tmp_path: Path) -> None:
    with _under_way(slow_zoo, tmp_path, "set") as process:
        process.send_signal(signal.SIGSTOP)
        done = _sample(slow_zoo, tmp_path, "set")
    assert (done.returncode, done.stderr) == (
        2,
        "error: set: another run is writing it; wait for it\n",
    )


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_full_disk(slow_zoo: Path, whole: Path, tmp_path: Path, output: str) -> None:
    """On a file system of its own, which holds a part of the set, then all of it."""
    script = """
    set -e
    mount -t tmpfs -o size=80k,nr_inodes=100000 full disk
    cd disk
    status=0
    "$@" || status=$?
    mount -o remount,size=100m .
    "$@"
    cp -r . ../out
    exit $status
    """
    (tmp_path / "disk").mkdir()
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], check=False).returncode
    ):
        pytest.skip("no user namespaces here, so no small file system to fill")
    done = subprocess.run(
        [*unshare, "sh", "-c", script, "sh", *_command(slow_zoo, output)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert (
        f"error: cannot write {output}: No space left on device; what was written before is kept: "
        "make room, and the same command goes on from there\n"
    ) in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert _contents(tmp_path / "out", output) == _contents(whole, output)
