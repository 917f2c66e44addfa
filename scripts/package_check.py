"""Builds the sdist and the wheel, and uses them as somebody would who has nothing else.

Each is installed into an empty environment, far from the sources: with the extra `cpu` it serves;
with none it is a client, and says what a server needs. With an argument, a folder, the two files
are kept there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scripts.checking import check, say

REPOSITORY: Final = Path(__file__).resolve().parent.parent
_MISSING: Final = (
    "error: onnxruntime is not installed: pip install 'ganagerie[cpu]' for CPUs, "
    "or 'ganagerie[gpu]' for CUDA (one of them, not both)\n"
)
_TIMEOUT_S: Final = 120.0


class Environment:
    """A virtual environment of one file, and an empty folder to work in."""

    def __init__(self, folder: Path, file: Path, extra: str = "") -> None:
        venv.create(folder, with_pip=True)
        self._python, self._ganagerie = (
            str(folder / "bin" / name) for name in ("python", "ganagerie")
        )
        self._home = folder / "home"
        self._home.mkdir()
        pip = [self._python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, f"{file}{extra}"], check=True, cwd=self._home)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`ganagerie WORDS`."""
        command = [self._ganagerie, *words]
        return subprocess.run(
            command, cwd=self._home, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )

    def installed(self) -> set[str]:
        """Names of its distributions."""
        listed = [self._python, "-m", "pip", "list", "--format=json"]
        done = subprocess.run(listed, capture_output=True, text=True, check=True)
        return {package["name"].lower() for package in json.loads(done.stdout)}

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serves on a free port; checks that SIGTERM ends it well."""
        command = [self._ganagerie, "serve", "--port", "0", "--http-port", "0"]
        command += ["--log-format", "json"]
        process = subprocess.Popen(command, cwd=self._home, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None  # noqa: S101  for the type
            events = (json.loads(line) for line in process.stderr)
            event = next((e for e in events if e["event"] == "serving"), None)
            check(event, "it serves")
            assert event is not None  # noqa: S101  for the type
            yield event["grpc"]
            process.terminate()
            check(process.wait(_TIMEOUT_S) == 0, "SIGTERM ends it with exit code 0")
        finally:
            process.kill()
            process.wait()


def _check_server(environment: Environment, clients: list[Environment]) -> None:
    check(not {"torch", "onnx"} & environment.installed(), "no torch comes with it")
    done = environment.run("generate", "biggan-emnist", "--class", "A", "-o", "a.png")
    check(done.returncode == 0, "an image without a server")
    with environment.serving() as target:
        for client in clients:
            done = client.run("health", "--address", target)
            check((done.returncode, done.stdout) == (0, f"{target} is SERVING\n"), "health")
            options = ("-n", "16", "-o", "b.png", "--target", target)
            check(client.run("generate", "dcgan-emnist", *options).returncode == 0, "16 images")


def main(kept: str | None) -> None:
    """Checks both files; exits at the first thing that is not as it should be."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        # The wheel is built from the sdist, so that nothing is missing there.
        build = [sys.executable, "-m", "build", "--outdir", str(root / "dist"), str(REPOSITORY)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        (wheel,) = (root / "dist").glob("*.whl")
        (sdist,) = (root / "dist").glob("*.tar.gz")
        for file in (wheel, sdist):
            say(f"    {file.name}: {file.stat().st_size / 1e6:.1f} MB")

        say("--- the wheel, without an extra")
        bare = Environment(root / "bare", wheel)
        for words in (["serve"], ["generate", "dcgan-emnist", "-o", "a.png"]):
            done = bare.run(*words)
            check((done.returncode, done.stderr) == (2, _MISSING), f"{words[0]} says what to do")
        check(bare.run("zoo", "list").returncode == 0, "zoo list")

        say("--- the wheel, extra cpu")
        served = Environment(root / "wheel", wheel, "[cpu]")
        _check_server(served, [served, bare])

        say("--- the sdist, extra cpu")
        served = Environment(root / "sdist", sdist, "[cpu]")
        _check_server(served, [served])
        if kept:
            shutil.copytree(root / "dist", kept, dirs_exist_ok=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
