"""Writes requirements/*.txt: every package of an image with its version and its hashes.

Each file holds for Linux, macOS and Windows and for every Python that pyproject.toml allows, by
markers. `make lock` keeps the versions that still fit; `make lock ARGS=--upgrade` takes the newest.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parent.parent
# Nothing can be added to an image later: traces are in all that serve.
EXTRAS: Final = {"cpu": ("cpu", "otel"), "gpu": ("gpu", "otel"), "train": ("cpu", "train")}
_OPTIONS: Final = (
    *("--universal", "--python-version", "3.11"),
    *("--generate-hashes", "--no-annotate", "--quiet"),
    *("--no-emit-index-url", "--no-emit-find-links"),
    *("--custom-compile-command", "make lock"),
)


def _compile(name: str, source: list[str], given: str | None, options: list[str]) -> None:
    command = [sys.executable, "-m", "uv", "pip", "compile", *source, *_OPTIONS, *options]
    subprocess.run(
        [*command, "--output-file", f"requirements/{name}.txt"],
        cwd=REPOSITORY,
        input=given,
        text=True,
        check=True,
    )


def main(options: list[str]) -> None:
    """Locks the images' packages, and what it takes to build our own wheel.

    Args:
        options: further ones for `uv pip compile`.
    """
    for name, extras in EXTRAS.items():
        chosen = [word for extra in extras for word in ("--extra", extra)]
        _compile(name, ["pyproject.toml", *chosen], None, options)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    _compile("build", ["-"], "\n".join(project["build-system"]["requires"]), options)


if __name__ == "__main__":
    main(sys.argv[1:])
