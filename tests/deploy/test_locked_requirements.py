"""requirements/*.txt: exact versions with hashes, without addresses, as pyproject.toml allows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.lock import EXTRAS
from tests.conftest import REPOSITORY

PROJECT: Final = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
FILES: Final = sorted((REPOSITORY / "requirements").glob("*.txt"))
PYTHONS: Final = ("3.11", "3.12", "3.13")
_PIN: Final = re.compile(
    r"(?P<pin>[^\\]+?) \\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
)
_files = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def _pins(file: Path) -> list[Requirement]:
    """All of them; anything else in the file fails."""
    text = re.sub(r"^#.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = list(_PIN.finditer(text))
    assert "".join(match.group() for match in found) == text, "a line that is no pin with hashes"
    return [Requirement(match["pin"]) for match in found]


def _on_linux(python: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "extra": "",
    }


def _installed(file: Path, python: str) -> dict[str, str]:
    """Versions by name that pip would install there."""
    environment = _on_linux(python)
    there = [p for p in _pins(file) if p.marker is None or p.marker.evaluate(environment)]
    versions: dict[str, str] = {
        canonicalize_name(p.name): str(p.specifier).removeprefix("==") for p in there
    }
    assert len(versions) == len(there), "a package with two versions at once"
    return versions


def _wanted(name: str) -> list[Requirement]:
    project = PROJECT["project"]
    if name == "build":
        return [Requirement(text) for text in PROJECT["build-system"]["requires"]]
    extras = [project["optional-dependencies"][extra] for extra in EXTRAS[name]]
    return [Requirement(text) for text in sum(extras, project["dependencies"])]


def test_there_is_one_for_each_image_and_for_the_build() -> None:
    assert {file.stem for file in FILES} == {*EXTRAS, "build"}


@_files
def test_every_line_is_an_exact_version_with_hashes_and_no_address(file: Path) -> None:
    pins = _pins(file)
    assert len(pins) > 4
    for pin in pins:
        (specifier,) = pin.specifier
        assert specifier.operator == "==", pin
        assert (pin.url, pin.extras) == (None, set()), pin
    assert not re.search(r"://|--(index|extra-index|find-links|trusted)", file.read_text())


@_files
@pytest.mark.parametrize("python", PYTHONS)
def test_what_pyproject_asks_for_is_there_in_its_range(file: Path, python: str) -> None:
    installed = _installed(file, python)
    for wanted in _wanted(file.stem):
        if wanted.marker is None or wanted.marker.evaluate(_on_linux(python)):
            version = installed[canonicalize_name(wanted.name)]
            assert wanted.specifier.contains(version), f"{wanted.name} {version}"


@pytest.mark.parametrize("python", PYTHONS)
def test_images_that_serve_have_no_torch_and_one_onnxruntime(python: str) -> None:
    cpu, gpu, train = (
        _installed(REPOSITORY / "requirements" / f"{name}.txt", python) for name in EXTRAS
    )
    assert not {"torch", "onnx"} & {*cpu, *gpu}
    assert "torch" in train
    assert ("onnxruntime" in cpu, "onnxruntime-gpu" in cpu) == (True, False)
    assert ("onnxruntime" in gpu, "onnxruntime-gpu" in gpu) == (False, True)
    assert {"nvidia-cudnn-cu13", "nvidia-cublas"} <= {*gpu}
    shared = cpu.keys() & gpu.keys() & train.keys()
    assert len(shared) > 25
    assert {n for n in shared if len({cpu[n], gpu[n], train[n]}) > 1} == set()
