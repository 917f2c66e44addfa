"""`ganagerie admin`, against a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog.testing

from protos.v1 import admin_pb2 as pb
from tests.ganagerie.conftest import Cli
from tests.server.admin_calls import ADMIN_KEY, Keyed, administered, damage, put
from tests.server.keyed_calls import KEY
from tests.serving import Running, server_in_thread


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    folder = tmp_path / "zoo"
    put(folder, "toy", seed=1)
    put(folder, "other", seed=2)
    damage(folder, "other")
    return folder


@pytest.fixture
def server(zoo: Path) -> Iterator[tuple[Running, Keyed]]:
    # Its log would be in the command's output.
    with structlog.testing.capture_logs(), administered(zoo) as server:
        yield server


@pytest.fixture
def given(server: tuple[Running, Keyed], tmp_path: Path) -> list[str]:
    """The options that name the server and the key."""
    file = tmp_path / "admin.key"
    file.write_text(f"{ADMIN_KEY}\n")
    return ["--key-file", str(file), "--target", server[0].grpc]


def rows(text: str) -> list[list[str]]:
    return [line.strip().split(maxsplit=4) for line in text.splitlines()[3:] if line.strip()]


def test_list_tells_states_and_reasons(cli: Cli, given: list[str], zoo: Path) -> None:
    done = cli("admin", "list", *given)
    size = (zoo / "toy" / "generator.onnx").stat().st_size
    assert (done.code, done.err) == (0, "")
    other, toy = rows(done.out)[:1], rows(done.out)[-1]
    assert other[0][:4] == ["other@1.0.0", "failed", "-", "0"]
    assert "generator.onnx: sha256 is " in done.out
    assert toy == ["toy@1.0.0", "loaded", f"{size:,}", "0", "-"]


def test_unload_load_and_load_anew(
    cli: Cli, server: tuple[Running, Keyed], given: list[str], zoo: Path
) -> None:
    _, calls = server
    first = calls.generate("toy", seed=1)[0].data
    done = cli("admin", "unload", "toy", *given)
    assert (done.code, rows(done.out)) == (0, [["toy@1.0.0", "unloaded", "-", "0", "-"]])
    assert calls.admin.residence()["toy@1.0.0"] == pb.RESIDENCE_UNLOADED
    put(zoo, "toy", seed=3)
    done = cli("admin", "load", "toy", *given)
    assert (done.code, rows(done.out)[0][:2]) == (0, ["toy@1.0.0", "loaded"])
    assert calls.generate("toy", seed=1)[0].data != first


def test_a_load_that_fails_is_one_line_and_code_2(cli: Cli, given: list[str]) -> None:
    done = cli("admin", "load", "other", *given)
    assert (done.code, done.out) == (2, "")
    start = "error: FAILED_PRECONDITION: other@1.0.0 could not be loaded: generator.onnx: sha256 "
    assert done.err.startswith(start)
    done = cli("admin", "load", "nobody", *given)
    assert (done.code, done.err) == (
        2,
        "error: no model 'nobody'. There is: other@1.0.0, toy@1.0.0\n",
    )


def test_another_key_opens_nothing(cli: Cli, given: list[str], tmp_path: Path) -> None:
    (tmp_path / "admin.key").write_text(KEY)
    done = cli("admin", "list", *given)
    assert (done.code, done.err) == (
        2,
        "error: PERMISSION_DENIED: the API key of alice makes images; the admin service wants a "
        "key of the file that --admin-keys names\n",
    )
    (tmp_path / "admin.key").write_text("two words")
    done = cli("admin", "list", *given)
    text = f"--key-file: {tmp_path / 'admin.key'}: must hold one key and nothing else"
    assert (done.code, done.err) == (2, f"error: {text}\n")


def test_a_server_without_admin_says_so(cli: Cli, toy_zoo: Path, tmp_path: Path) -> None:
    file = tmp_path / "admin.key"
    file.write_text(ADMIN_KEY)
    with server_in_thread(toy_zoo) as running:
        done = cli("admin", "list", "--key-file", file, "--target", running.grpc)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: UNIMPLEMENTED: ")


def test_the_key_is_asked_for(cli: Cli) -> None:
    done = cli("admin", "list")
    assert done.code == 2
    assert "Missing option '--key-file'" in done.err
