"""`ganagerie zoo push`, and `pull` of what was pushed: through files, and through fsspec's hubs."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'ganagerie[hub]'")

from fsspec.implementations.memory import MemoryFileSystem

from ganagerie.errors import HubError
from ganagerie.hub.source import Source
from tests.ganagerie.conftest import Cli
from tests.toys import write_toy
from zoo.card import Card
from zoo.catalog import Catalog


@pytest.fixture
def card(tmp_path: Path) -> Card:
    """Of a model in `www/letters`."""
    return write_toy(tmp_path / "www", "letters", classes=("A", "B"))


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANAGERIE_ZOO", str(tmp_path / "zoo"))
    return tmp_path / "zoo"


def test_push_and_pull_through_files(cli: Cli, card: Card, zoo: Path, tmp_path: Path) -> None:
    url, www = f"file://{tmp_path}/there/letters", tmp_path / "www"
    push = ("zoo", "push", "letters", url, "--zoo", www)
    assert cli(*push).err == f"letters@1.0.0 put: {url}\n"
    assert cli(*push).err == f"letters@1.0.0 is there already: {url}\n"
    assert cli("zoo", "pull", url).code == 0
    assert [entry.card for entry in Catalog.open(zoo).entries] == [card]
    write_toy(tmp_path / "new", "letters", version="1.1.0")
    newer = ("zoo", "push", "letters", url, "--zoo", tmp_path / "new")
    done = cli(*newer)
    assert (done.code, done.err) == (
        2,
        f"error: {url}/card.json: is there already and says something else; push elsewhere, or "
        "with --replace\n",
    )
    assert cli(*newer, "--replace").code == 0
    assert cli("zoo", "pull", url).code == 0
    assert [entry.card.version for entry in Catalog.open(zoo).entries] == ["1.1.0", "1.0.0"]


def test_a_replacement_that_broke_off_is_not_taken_for_the_model_before(
    cli: Cli, card: Card, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, www, write = f"file://{tmp_path}/there/letters", tmp_path / "www", Source.write
    push = ("zoo", "push", "letters", url, "--zoo", www)
    assert cli(*push).code == 0
    write_toy(tmp_path / "new", "letters", version="1.1.0", hidden=32)
    newer = ("zoo", "push", "letters", url, "--zoo", tmp_path / "new", "--replace")

    def breaks_off(self: Source, name: str, content: bytes) -> None:
        if name == "card.json":
            raise HubError("broke off")
        write(self, name, content)

    with monkeypatch.context() as patch:
        patch.setattr(Source, "write", breaks_off)
        assert cli(*newer).err == "error: broke off\n"
    assert cli("zoo", "pull", url).err == f"error: {url}/card.json: is not there\n"
    assert cli(*push).err == f"letters@1.0.0 put: {url}\n"
    assert cli("zoo", "pull", url).code == 0
    assert [entry.card for entry in Catalog.open(zoo).entries] == [card]
    assert cli(*newer).code == 0
    assert cli("zoo", "pull", url).code == 0


def test_altered_models_are_not_pushed(cli: Cli, card: Card, tmp_path: Path) -> None:
    (tmp_path / "www/letters/generator.onnx").write_bytes(b"altered")
    url = f"file://{tmp_path}/there"
    done = cli("zoo", "push", "letters", url, "--zoo", tmp_path / "www")
    assert done.code == 2
    assert "the file was altered" in done.err
    assert not (tmp_path / "there").exists()
    done = cli("zoo", "push", "letters", "https://example.org/m", "--zoo", tmp_path / "www")
    assert (done.code, done.err) == (
        2,
        "error: https://example.org/m: https is read-only; push to hf://, s3:// or file://\n",
    )


class _Hub(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Stands for hf and s3, of which fsspec only hands over the path."""

    protocol = ("hf", "s3")
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("hf://").removeprefix("s3://")))


@pytest.mark.parametrize("scheme", ["hf", "s3"])
def test_hf_and_s3_go_through_fsspec(
    cli: Cli, card: Card, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    implementations = importlib.import_module("fsspec.registry")._registry  # put back afterwards
    monkeypatch.setitem(implementations, scheme, _Hub)
    monkeypatch.setattr(_Hub, "store", {})
    url = f"{scheme}://org/name"
    assert cli("zoo", "push", "letters", url, "--zoo", tmp_path / "www").code == 0
    assert set(_Hub.store) == {"/org/name/generator.onnx", "/org/name/card.json"}
    assert cli("zoo", "pull", url).err == f"letters@1.0.0 fetched: {zoo}/letters@1.0.0\n"
    assert [entry.card for entry in Catalog.open(zoo).entries] == [card]
    assert cli("zoo", "pull", f"{scheme}://org/other").err == (
        f"error: {scheme}://org/other/card.json: is not there\n"
    )
