"""README's commands, run as they stand there by somebody who has just cloned the project."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
_SHEET = 8 * 28 + 9 * 2  # pixels: eight images and nine gaps


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def _commands() -> list[str]:
    return re.findall(r"^\$ (.*)$", "\n".join(_blocks("console")), re.MULTILINE)


def _command(start: str) -> str:
    found = [command for command in _commands() if command.startswith(start)]
    assert len(found) == 1, f"README gives {len(found)} commands that start with {start!r}"
    return found[0]


@dataclass(frozen=True)
class Newcomer:
    """A fresh copy of the project, in which `make serve` is running."""

    folder: Path
    target: str
    process: subprocess.Popen[str]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    folder = tmp_path_factory.mktemp("clone")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    for name in filter(None, files.stdout.split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, target)
    free_ports = {"GANAGERIE_PORT": "0", "GANAGERIE_HTTP_PORT": "0"}
    process = subprocess.Popen(
        shlex.split(_command("make serve")),
        cwd=folder,
        env={**os.environ, **free_ports, "PYTHON": sys.executable},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield Newcomer(folder, _serving(process), process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _serving(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("{") and (event := json.loads(line))["event"] == "serving":
            return str(event["grpc"])
    raise AssertionError("make serve ended:\n" + "".join(said))


def test_the_first_command_serves_and_the_second_terminal_gets_letters(newcomer: Newcomer) -> None:
    command = _command(".venv/bin/ganagerie generate").replace("127.0.0.1:50051", newcomer.target)
    subprocess.run(shlex.split(command), cwd=newcomer.folder, check=True, timeout=60)
    with Image.open(newcomer.folder / "letters.png") as sheet:
        assert sheet.size == (_SHEET, _SHEET)
        assert sheet.getextrema() == (0, 255)


def test_the_python_example_runs(newcomer: Newcomer) -> None:
    (example,) = (block for block in _blocks("python") if "from ganagerie" in block)
    python = newcomer.folder / ".venv" / "bin" / "python"
    subprocess.run(
        [python, "-c", example.replace("127.0.0.1:50051", newcomer.target)],
        cwd=newcomer.folder,
        check=True,
        timeout=60,
    )
    assert len(list(newcomer.folder.glob("letter-*.png"))) == 16


def test_serving_installs_no_torch(newcomer: Newcomer) -> None:
    installed = {
        path.name.split("-")[0].lower()
        for path in (newcomer.folder / ".venv").glob("lib/python*/site-packages/*.dist-info")
    }
    assert "onnxruntime" in installed
    assert not installed & {"torch", "torchvision", "onnx", "onnxscript"}


def test_sigterm_ends_make_serve(newcomer: Newcomer) -> None:
    # `make` passes the signal on to the server, which drains. (Sent to the whole group, the server
    # would get it twice, which means: at once.)
    newcomer.process.send_signal(signal.SIGTERM)
    assert newcomer.process.wait(timeout=30) in {0, 2, -signal.SIGTERM}
    assert newcomer.process.stderr is not None
    assert '"event": "stopped"' in newcomer.process.stderr.read()


def test_the_road_from_training_to_pictures(data_folder: Path, tmp_path: Path) -> None:
    road = [c for c in _commands() if c.startswith("ganagerie")]
    assert [shlex.split(c)[1] for c in road] == [
        *("train", "publish", "generate"),
        *("train", "monitor", "monitor"),
    ]
    short = {
        "dcgan-emnist": "--set network.channels=[16,8,4] --set network.linear_features=32",
        "biggan-emnist": "--set network.ch=8 --set network.z_dim=12 --set monitor.every=4",
    }
    for command in road:
        command = command.replace(" --download", "").replace("--data data", f"--data {data_folder}")
        words = shlex.split(command)
        if words[1] == "train":
            words += shlex.split(f"--set max_itr=12 --set batch_size=16 {short[words[2]]}")
        words[:1] = [sys.executable, "-m", "ganagerie.cli"]
        subprocess.run(words, cwd=tmp_path, check=True, timeout=300, env=_importable())
    with Image.open(tmp_path / "letters.png") as sheet:
        assert sheet.size == (_SHEET, _SHEET)
    assert "healthy" in (tmp_path / "runs" / "classes" / "report.html").read_text(encoding="utf-8")


def _importable() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def test_ci_runs_the_command_that_readme_gives_for_the_tests() -> None:
    assert _command("make test") == "make test"
    assert "\nexec make test\n" in (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
