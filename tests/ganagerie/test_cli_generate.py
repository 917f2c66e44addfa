"""`ganagerie generate`: what it writes, and what it says."""

from __future__ import annotations

import math
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ganagerie import Client, local
from tests.ganagerie.conftest import Cli
from tests.serving import Running

GENERATE = [sys.executable, "-m", "ganagerie.cli", "generate"]


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_zoo(tmp_path: Path, toy_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANAGERIE_ZOO", str(toy_zoo))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 10])
@pytest.mark.parametrize(("model", "mode"), [("letters", "L"), ("colour", "RGB")])
def test_png_is_a_contact_sheet(cli: Cli, client: Client, model: str, mode: str, n: int) -> None:
    done = cli("generate", model, "-n", n, "--seed", 7, "-o", "sheet.png")
    assert (done.code, done.out) == (0, "")
    seeds = "seed 7" if n == 1 else f"seed 7 to {6 + n}"
    assert done.err == f"{n} of {model}, {seeds}: sheet.png\n"
    columns = math.ceil(math.sqrt(n))
    with Image.open("sheet.png") as sheet:
        assert sheet.mode == mode
        assert sheet.size == (14 * columns + 2, 14 * math.ceil(n / columns) + 2)
        for i, image in enumerate(client.generate(model, count=n, seed=7)):
            x, y = 14 * (i % columns) + 2, 14 * (i // columns) + 2
            assert sheet.crop((x, y, x + 12, y + 12)).tobytes() == image.image.tobytes()


@pytest.mark.parametrize("output", ["made/", "made/of/several/", "there", "there/", "dotted.png"])
def test_folder_gets_one_png_a_seed(cli: Cli, client: Client, output: str) -> None:
    Path("there").mkdir()
    Path("dotted.png").mkdir()
    done = cli("generate", "letters", "-n", 3, "--seed", 98, "-o", output)
    assert (done.code, done.err) == (0, f"3 of letters, seed 98 to 100: {output}\n")
    made = {path.name: path.read_bytes() for path in Path(output).iterdir()}
    images = client.generate("letters", count=3, seed=98)
    assert made == {f"{image.seed}.png": image.data for image in images}


def test_every_class_has_a_row_of_its_own(cli: Cli, client: Client) -> None:
    names = client.model("letters").class_names
    done = cli("generate", "letters", "--every-class", "-n", 2, "--seed", 7, "-o", "all.png")
    assert (done.code, done.err) == (
        0,
        f"{2 * len(names)} of letters, seed 7 to {6 + 2 * len(names)}: all.png\n",
    )
    with Image.open("all.png") as sheet:
        assert sheet.size == (14 * 2 + 2, 14 * len(names) + 2)
        for row, name in enumerate(names):
            wanted = client.generate("letters", count=2, seed=7 + 2 * row, classes=name)
            for column, image in enumerate(wanted):
                x, y = 14 * column + 2, 14 * row + 2
                assert sheet.crop((x, y, x + 12, y + 12)).tobytes() == image.image.tobytes()


def test_every_class_of_a_server(cli: Cli, toy_server: Running) -> None:
    options = ("--every-class", "-n", 2, "--seed", 7)
    assert cli("generate", "letters", *options, "-o", "here.png").code == 0
    target = ("--target", toy_server.grpc)
    assert cli("generate", "letters", *options, "-o", "there.png", *target).code == 0
    assert Path("here.png").read_bytes() == Path("there.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("plain --every-class -o x.png", "--every-class: plain has no classes"),
        ("letters --every-class --class A -o x.png", "--every-class: leave out --class with it"),
        (
            "letters --every-class -o -",
            "-o -: writes one image; with --every-class use FILE.png or DIR/",
        ),
    ],
)
def test_every_class_refuses(cli: Cli, arguments: str, error: str) -> None:
    done = cli("generate", *arguments.split())
    assert (done.code, done.err) == (2, f"error: {error}\n")


def test_every_class_counts_before_it_makes_a_list(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = cli("generate", "letters", "--every-class", "-n", 10**9, "-o", "x.png")
    assert (done.code, done.err) == (2, "error: count: 3000000000 is outside 1 to 65536\n")
    monkeypatch.setattr(local, "MAX_COUNT", 6)
    assert cli("generate", "letters", "--every-class", "-n", 2, "-o", "x.png").code == 0
    for n in (0, 3):
        done = cli("generate", "letters", "--every-class", "-n", n, "-o", "x.png")
        assert (done.code, done.err) == (2, f"error: count: {3 * n} is outside 1 to 6\n")


@pytest.mark.parametrize("given", ["--bulk", "--timeout-s 60", "--timeout-s 0"])
def test_what_is_for_servers_needs_one(cli: Cli, given: str) -> None:
    done = cli("generate", "plain", "-o", "x.png", *given.split())
    assert (done.code, done.err) == (2, f"error: {given.split()[0]}: needs --target beside it\n")
    assert not Path("x.png").exists()


def test_an_empty_target_is_not_this_process(cli: Cli) -> None:
    done = cli("generate", "plain", "-o", "x.png", "--target", "")
    assert (done.code, done.err) == (
        2,
        "error: --target: is empty; name HOST:PORT, or leave it out\n",
    )
    assert not Path("x.png").exists()


def test_suffix_may_be_in_capitals(cli: Cli) -> None:
    assert cli("generate", "plain", "-o", "SHEET.PNG").code == 0
    with Image.open("SHEET.PNG") as sheet:
        assert (sheet.format, sheet.size) == ("PNG", (16, 16))


@pytest.mark.parametrize(
    ("arguments", "classes"),
    [
        ([], None),
        (["--class", "B"], "B"),
        (["--class", "C", "--class", "A", "--class", "C"], ["C", "A", "C"]),
        (["--class", "A:0.5,B:1.5"], {"A": 0.5, "B": 1.5}),
        (["--class", "A", "--class", "A:1,C:3", "--class", "B:1"], ["A", {"A": 1, "C": 3}, "B"]),
    ],
)
def test_classes(cli: Cli, client: Client, arguments: list[str], classes: Any) -> None:
    done = cli("generate", "letters", "-n", 3, "--seed", 1, *arguments, "-o", "made/")
    assert done.code == 0
    images = client.generate("letters", count=3, seed=1, classes=classes)
    assert [Path(f"made/{image.seed}.png").read_bytes() for image in images] == [
        image.data for image in images
    ]


def test_truncation(cli: Cli, client: Client) -> None:
    options: list[Any] = ["--seed", 3, "--truncation", 0.5, "-o"]
    assert cli("generate", "plain", *options, "threshold/").code == 0
    assert cli("generate", "plain", "--truncation-mode", "scale", *options, "scale/").code == 0
    for mode in ("threshold", "scale"):
        wanted: Any = {"seed": 3, "truncation": 0.5, "truncation_mode": mode}
        assert Path(f"{mode}/3.png").read_bytes() == client.generate("plain", **wanted)[0].data


def test_drawn_seed_is_printed_and_makes_the_file_again(cli: Cli) -> None:
    first = cli("generate", "plain", "-n", 5, "-o", "first.png")
    said = re.fullmatch(r"5 of plain, seed (\d+) to (\d+): first\.png\n", first.err)
    assert said
    assert int(said[2]) == int(said[1]) + 4
    assert cli("generate", "plain", "-n", 5, "--seed", said[1], "-o", "again.png").code == 0
    assert Path("again.png").read_bytes() == Path("first.png").read_bytes()
    assert cli("generate", "plain", "-n", 5, "-o", "other.png").err != first.err


@pytest.mark.parametrize("output", ["made.png", "made/"])
def test_server_and_process_write_the_same(
    cli: Cli, toy_server: Running, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    arguments = ["letters", "-n", 40, "--seed", 5, "--class", "A:1,C:2", "--truncation", 0.7]
    assert cli("generate", *arguments, "-o", f"local-{output}").code == 0
    monkeypatch.setenv("GANAGERIE_ZOO", "nowhere")  # it is the server's zoo that counts
    done = cli("generate", *arguments, "--target", toy_server.grpc, "-o", f"served-{output}")
    assert (done.code, done.err) == (0, f"40 of letters, seed 5 to 44: served-{output}\n")
    local, served = Path(f"local-{output}"), Path(f"served-{output}")
    if local.is_dir():
        assert {p.name: p.read_bytes() for p in local.iterdir()} == {
            p.name: p.read_bytes() for p in served.iterdir()
        }
    else:
        assert local.read_bytes() == served.read_bytes()


def test_pipe_gets_the_png_and_nothing_else(client: Client) -> None:
    command = [*GENERATE, "plain", "--seed", "7", "-o", "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"1 of plain, seed 7: -\n")
    assert done.stdout == client.generate("plain", seed=7)[0].data


def _full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def _closed() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(
    ("sink", "why"), [(_full, "No space left on device"), (_closed, "Broken pipe")]
)
def test_pipe_that_takes_nothing(sink: Callable[[], int], why: str) -> None:
    descriptor = sink()
    try:
        done = subprocess.run(
            [*GENERATE, "plain", "-o", "-"], stdout=descriptor, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(descriptor)
    assert (done.returncode, done.stderr.decode()) == (2, f"error: cannot write -: {why}\n")


def test_terminal_is_not_sent_a_png() -> None:
    controller, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [*GENERATE, "plain", "-o", "-"], stdout=terminal, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(terminal)
        os.close(controller)
    assert done.returncode == 2
    assert done.stderr == b"error: -o - writes a PNG, which a terminal cannot show: pipe it on\n"


@pytest.mark.parametrize(("n", "shown"), [(499, False), (500, True)])
def test_progress_is_shown_on_a_terminal(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, n: int, shown: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert ("generating" in cli("generate", "plain", "-n", n, "-o", "made.png").err) is shown


def test_no_progress_into_a_log(cli: Cli) -> None:
    done = cli("generate", "plain", "-n", 500, "--seed", 1, "-o", "made.png")
    assert done.err == "500 of plain, seed 1 to 500: made.png\n"


def test_zoo_flag_beats_the_environment(
    cli: Cli, toy_zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANAGERIE_ZOO", "nowhere")
    assert cli("generate", "plain", "--zoo", toy_zoo, "-o", "made.png").code == 0
    assert cli("generate", "plain", "-o", "made.png").code == 2


def test_server_that_does_not_answer(nobody: str) -> None:
    command = [*GENERATE, "plain", "-o", "made.png", "--target", nobody]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        rf"error: {nobody} does not answer \(.*\); is the server running\? ganagerie serve\n",
        done.stderr,
    )


def test_server_without_the_model(cli: Cli, toy_server: Running) -> None:
    done = cli("generate", "plan", "-o", "made.png", "--target", toy_server.grpc)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: no model 'plan'; did you mean 'plain'? "
        "There is: colour@1.0.0, letters@1.0.0, plain@1.10.0, plain@1.9.0\n"
    )
    assert not Path("made.png").exists()


def test_deadline_of_the_server(cli: Cli, slow_server: Running) -> None:
    target = ["--target", slow_server.grpc, "--timeout-s", 0.2]
    done = cli("generate", "slow", "-n", 4096, "-o", "made.png", *target)
    assert done.code == 2
    assert (
        done.err == f"error: {slow_server.grpc}: no answer within the deadline; raise timeout_s\n"
    )
