"""The Dockerfile agrees with the rest of the project; `make image-check` builds and runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts.lock import EXTRAS
from tests.conftest import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
PACKAGES = (REPOSITORY / "scripts" / "image_packages.sh").read_text(encoding="utf-8")
SERVED = """
import json, sys
import ganagerie.client, ganagerie.local, ganagerie.cli, server.app
from zoo.catalog import BUNDLED, Catalog

for model in ("dcgan-emnist", "biggan-emnist"):
    list(ganagerie.local.generate(Catalog.open(BUNDLED), model, {"seed": 1, "truncation": 0.5}))
print(json.dumps(sorted(sys.modules)))
"""


def _copied() -> set[str]:
    """What comes from the repository, by the path given there."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
    return {source for line in lines for source in line.split()[:-1]}


def test_what_it_copies_is_what_the_context_has() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    for source in _copied():
        assert (REPOSITORY / source).exists(), source
        assert any(source == name or source.startswith(f"{name}/") for name in kept), source
    assert {name for name in kept if not (REPOSITORY / name).exists()} == set()


def test_every_package_of_the_wheel_is_copied() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {*packages, project["project"]["readme"], *project["project"]["license-files"]} <= (
        _copied()
    )


def test_each_extra_is_a_target_and_the_last_stage_is_cpu() -> None:
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", DOCKERFILE, re.MULTILINE)
    names = {name for _, name in stages}
    assert {*EXTRAS} <= names
    assert stages[-1] == ("cpu", "")
    assert {base for base, _ in stages} - names == {"${PYTHON_IMAGE}"}


def test_a_server_does_not_load_what_its_images_leave_out() -> None:
    (block,) = re.findall(r"^trim\(\) \{\n(.*?)^\}", PACKAGES, re.MULTILINE | re.DOTALL)
    lists = re.findall(r"for part in (.*?); do\s+rm -rf \"\$site/(\w+)/", block, re.DOTALL)
    removed = {f"{p}.{part}" for parts, p in lists for part in parts.replace("\\", "").split()}
    assert {"scipy.stats", "onnxruntime.tools"} <= removed
    done = subprocess.run(
        [sys.executable, "-c", SERVED], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert {"scipy.special", "onnxruntime"} <= loaded
    assert loaded & removed == set()


@pytest.mark.parametrize("name", ["image_build.sh", "image_packages.sh"])
def test_the_scripts_say_how_they_are_called(name: str) -> None:
    script = REPOSITORY / "scripts" / name
    subprocess.run(["bash", "-n", script], check=True, timeout=10)
    done = subprocess.run(
        ["bash", script, "x"], capture_output=True, text=True, timeout=10, check=False
    )
    assert done.returncode == 2
    assert Path(name).stem in done.stderr
