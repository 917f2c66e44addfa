"""The arrows between the packages, and the shape of the files."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGES = (
    *("ganagerie", "protos", "zoo", "server", "training"),
    *("deploy", "tests", "benchmarks", "scripts"),
)
NEEDS_TORCH = ("zoo/nets/", "zoo/exporters/", "zoo/importers/")
TRAINING_ONLY = {"torch", "torchvision", "onnx", "onnxscript"}
MAX_LINES = 300

SERVE = """
import asyncio, importlib, json, sys
from pathlib import Path

for module in json.loads(sys.argv[2]):
    importlib.import_module(module)

from ganagerie.client import AsyncClient
from ganagerie.local import generate
from server.app import App
from server.config import ServeConfig
from zoo.catalog import Catalog


async def serve(zoo):
    app = App(ServeConfig(zoo=zoo, port=0, http_port=0))
    await app.start()
    async with AsyncClient(app.grpc_address) as client:
        images = await client.generate("letters", seed=1)
    await app.drain()
    return images


zoo = Path(sys.argv[1])
assert asyncio.run(serve(zoo)) == list(generate(Catalog.open(zoo), "letters", {"seed": 1}))
print()
print(json.dumps(sorted(sys.modules)))
"""


def python_files() -> dict[str, Path]:
    """Hand-written Python files by their path in the repository."""
    files = (path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
    return {p.relative_to(REPOSITORY).as_posix(): p for p in files if "_pb2" not in p.name}


def run_python(*arguments: str) -> list[str]:
    """Lines that Python prints."""
    command = [sys.executable, "-c", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_arrows_between_packages_are_kept() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    assert len(contracts) >= 3
    for contract in contracts:
        assert f"{contract['name']} KEPT" in done.stdout
    assert f"Contracts: {len(contracts)} kept, 0 broken." in done.stdout


def test_serving_loads_no_training_library(toy_zoo: Path) -> None:
    modules = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in python_files()
        if name.startswith(("ganagerie/", "zoo/", "server/"))
        and not name.startswith(NEEDS_TORCH)
        and not name.endswith("/__main__.py")
    ]
    assert {"server.app", "ganagerie.client", "ganagerie.local", "ganagerie.cli"} <= {*modules}
    loaded = set(json.loads(run_python(SERVE, str(toy_zoo), json.dumps(modules))[-1]))
    assert {"server.app", "zoo.generator", "grpc", "onnxruntime"} <= loaded
    assert loaded & TRAINING_ONLY == set()


@pytest.mark.parametrize("module", ["ganagerie", "ganagerie.cli"])
def test_importing_the_public_face_is_light(module: str) -> None:
    heavy = {"grpc", "onnxruntime", "uvicorn", *TRAINING_ONLY}
    (line,) = run_python(f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))")
    loaded = set(json.loads(line))
    assert module in loaded
    assert loaded & heavy == set()


def test_the_clients_are_loaded_when_first_used() -> None:
    code = "import ganagerie, sys; ganagerie.Client; ganagerie.GeneratedImage; print(*sys.modules)"
    assert "grpc" in run_python(code)[0].split()


def test_an_unknown_name_of_the_package_is_an_error() -> None:
    import ganagerie

    with pytest.raises(AttributeError) as caught:
        ganagerie.Server  # noqa: B018  # asking for it is what is tested
    assert str(caught.value) == "module 'ganagerie' has no attribute 'Server'"


def test_no_file_is_longer_than_a_few_screens() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in python_files().items()}
    assert {"zoo/card.py", "server/app.py", "tests/test_architecture.py"} <= lines.keys()
    assert {name: n for name, n in lines.items() if n > MAX_LINES} == {}


def test_files_are_named_for_what_is_in_them() -> None:
    vague = {"utils", "util", "common", "helpers", "misc"}
    named = {name: {*name.removesuffix(".py").split("/")} for name in python_files()}
    assert [name for name, parts in named.items() if parts & vague] == []
