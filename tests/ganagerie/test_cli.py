"""The command line as a whole: help, version, and how errors end."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

import ganagerie
from ganagerie import local
from ganagerie.cli import main
from tests.ganagerie.conftest import Cli

SUFFIX = (
    "must end in .png (a contact sheet), in / (a folder, one PNG an image), "
    "or be - (one image to standard output)"
)
MIXTURE = 'must be a name, or NAME:WEIGHT,… as in "A:0.5,R:0.5"'
COMMANDS = ["generate", "serve", "train", "publish", "zoo", "zoo list", "zoo show", "zoo verify"]


@pytest.fixture
def _zoo(tmp_path: Path, toy_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANAGERIE_ZOO", str(toy_zoo))


def test_no_arguments_print_the_help(cli: Cli) -> None:
    done = cli()
    assert done.err == ""
    assert done.out.strip() == cli("--help").out.strip()
    for name in {command.split()[0] for command in COMMANDS}:
        assert re.search(rf"^│ {name} ", done.out, re.MULTILINE)


def test_version(cli: Cli) -> None:
    done = cli("--version")
    assert (done.code, done.out, done.err) == (0, f"ganagerie {ganagerie.__version__}\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(cli: Cli, command: str) -> None:
    done = cli(*command.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert re.search(rf"Usage: .*\b{command} ", done.out)
    assert done.out == cli(*command.split(), "-h").out
    _, _, examples = done.out.partition("Examples:")
    assert f"ganagerie {command}" in examples


def test_help_of_all_has_a_start(cli: Cli) -> None:
    done = cli("--help")
    assert (done.code, done.err) == (0, "")
    assert "Start here:  ganagerie generate dcgan-emnist -n 64 -o letters.png" in done.out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("genrate", "No such command 'genrate'"),
        ("zoo remove", "No such command 'remove'"),
        ("generate plain --sed 1", "No such option: --sed"),
        ("generate plain", "Missing option '--output'"),
        ("generate -o x.png", "Missing argument"),
        ("generate plain -o x.png -n many", "Invalid value for '--count'"),
        ("generate plain -o x.png --seed 1.5", "Invalid value for '--seed'"),
        ("generate plain -o x.png --truncation-mode x", "Invalid value for '--truncation-mode'"),
        ("zoo show", "Missing argument"),
    ],
)
def test_wrong_usage(cli: Cli, arguments: str, text: str) -> None:
    done = cli(*arguments.split())
    assert (done.code, done.out) == (2, "")
    assert text in done.err


@pytest.mark.usefixtures("_zoo")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            "nope -o x.png",
            "no model 'nope'. There is: colour@1.0.0, letters@1.0.0, plain@1.10.0, plain@1.9.0",
        ),
        ("plain -o x.png -n 0", "count: 0 is outside 1 to 65536"),
        ("plain -o x.png -n 65537", "count: 65537 is outside 1 to 65536"),
        (
            "plain -o x.png -n -1",
            "count: -1 is not allowed; must be an integer from 1 to 2**32 - 1",
        ),
        (
            "plain -o x.png --seed -1",
            "seed: -1 is not allowed; must be an integer from 0 to 2**64 - 1",
        ),
        (
            "plain -o x.png --truncation nan",
            "truncation: nan is not allowed; a finite number of at least 0, or unset",
        ),
        (
            "plain -o x.png --truncation -1",
            "truncation: -1.0 is not allowed; a finite number of at least 0, or unset",
        ),
        (
            "plain -o x.png --truncation-mode scale",
            "truncation_mode: SCALE needs a truncation beside it",
        ),
        (
            "letters -o x.png -n 3 --class A --class B",
            "conditions: 2 given; allowed: 0, 1 or 3 (the count)",
        ),
        (
            "letters -o x.png --class A:0.5,R:0.5",
            "conditions[0].mixture.classes[1].class_name: 'R' is not a class of letters@1.0.0; "
            "nearest: 'C', 'B', 'A' (GetModel lists all 3)",
        ),
        ("letters -o x.png --class A:x", f"--class: 'A:x': {MIXTURE}"),
        ("letters -o x.png --class A:", f"--class: 'A:': {MIXTURE}"),
        ("letters -o x.png --class :", f"--class: ':': {MIXTURE}"),
        ("letters -o x.png --class A:1,B", f"--class: 'A:1,B': {MIXTURE}"),
        ("letters -o x.png --class A:1,,B:1", f"--class: 'A:1,,B:1': {MIXTURE}"),
        ("letters -o x.png --class A:1,A:2", "--class: 'A:1,A:2': 'A' is there twice"),
        ("plain -o - -n 2", "-o -: writes one image, not 2; use -n 1, FILE.png or DIR/"),
        ("plain -o x.jpg", f"-o x.jpg: {SUFFIX}"),
        ("plain -o x", f"-o x: {SUFFIX}"),
        ("plain -o .png", f"-o .png: {SUFFIX}"),
        ("plain -o no/x.png", "cannot write to no: there is no such folder"),
        ("plain -o file/", "cannot write to file: it is not a folder"),
        ("plain -o file/below/", "cannot write to file: it is not a folder"),
        ("plain -o x.png --zoo no", "zoo no: cannot be read: No such file or directory"),
        ("plain -o x.png --zoo file", "zoo file: cannot be read: Not a directory"),
    ],
)
def test_generate_refuses_in_one_line(cli: Cli, arguments: str, text: str) -> None:
    Path("file").write_text("in the way")
    done = cli("generate", *arguments.split())
    assert (done.code, done.out, done.err) == (2, "", f"error: {text}\n")
    assert [path.name for path in Path().iterdir()] == ["file"]


@pytest.mark.usefixtures("_zoo")
def test_empty_output_is_refused(cli: Cli) -> None:
    done = cli("generate", "plain", "-o", "")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert list(Path().iterdir()) == []


@pytest.mark.usefixtures("_zoo")
@pytest.mark.parametrize(
    "output", ["x.jpg", "no/x.png", "file/x.png", "file/", "file/below/", "file/below/x.png"]
)
def test_output_is_checked_before_any_image_is_made(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    def generate(*_: Any) -> Iterator[Any]:
        raise AssertionError("images were made")

    monkeypatch.setattr(local, "generate", generate)
    Path("file").write_text("in the way")
    done = cli("generate", "plain", "-o", output)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)


@pytest.mark.usefixtures("_zoo")
def test_missing_runtime(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = cli("generate", "plain", "-o", "x.png")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: onnxruntime is not installed: pip install 'ganagerie[cpu]' for CPUs, "
        "or 'ganagerie[gpu]' for CUDA (one of them, not both)\n"
    )


@pytest.mark.parametrize(
    "arguments", [["train", "dcgan-emnist", "--dry-run"], ["publish", "run", "--name", "x"]]
)
@pytest.mark.parametrize("missing", [["torch"], ["torchvision", "yaml"]])
def test_missing_training_libraries(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: list[str], missing: list[str]
) -> None:
    find_spec = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name in missing else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    done = cli(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: ganagerie {arguments[0]} needs {', '.join(missing)}: "
        "pip install 'ganagerie[train]'\n"
    )


def _crash(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def generate(*_: Any) -> Iterator[Any]:
        raise error

    monkeypatch.setattr(local, "generate", generate)
    monkeypatch.setattr(sys, "argv", ["ganagerie", "generate", "plain", "-o", "x.png"])


@pytest.mark.usefixtures("_zoo")
@pytest.mark.parametrize("error", [RuntimeError("a defect"), ValueError(), KeyError("x")])
def test_defects_are_not_hidden(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    _crash(monkeypatch, error)
    with pytest.raises(type(error)) as raised:
        main()
    assert raised.value is error


@pytest.mark.usefixtures("_zoo")
def test_interruption_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    _crash(monkeypatch, KeyboardInterrupt())
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert list(Path().iterdir()) == []


def test_runs_as_a_module_and_loads_little() -> None:
    watched = ["grpc", "onnxruntime", "torch", "onnx", "pydantic_core"]
    program = (
        "import json, runpy, sys\n"
        "try:\n"
        "    runpy.run_module('ganagerie.cli', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        f"    print(json.dumps([name for name in {watched} if name in sys.modules]))\n"
    )
    command = [sys.executable, "-c", program, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Start here:" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == ["pydantic_core"]
