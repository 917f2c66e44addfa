"""`ganagerie zoo pull` over HTTP: what is fetched, what is gone on with, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed: pip install 'ganagerie[hub]'")

from tests.ganagerie.conftest import Cli
from tests.ganagerie.model_host import Host, model_host
from tests.toys import write_toy
from zoo.card import Card
from zoo.catalog import Catalog


@pytest.fixture
def card(tmp_path: Path) -> Card:
    """Of a model in `www/letters`, and the folder `zoo` to pull it into."""
    return write_toy(tmp_path / "www", "letters", classes=("A", "B"), hidden=256)


@pytest.fixture
def host(tmp_path: Path, card: Card) -> Iterator[Host]:
    with model_host(tmp_path / "www") as host:
        yield host


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANAGERIE_ZOO", str(tmp_path / "zoo"))
    return tmp_path / "zoo"


def _edit_card(tmp_path: Path, **changes: Any) -> None:
    path = tmp_path / "www/letters/card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _replace_artifact(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "www/letters/generator.onnx").write_bytes(content)
    card = json.loads((tmp_path / "www/letters/card.json").read_text())
    digest = hashlib.sha256(content).hexdigest()
    _edit_card(tmp_path, artifact={**card["artifact"], "sha256": digest})


def _nothing_left(zoo: Path) -> bool:
    return not zoo.exists() or list(zoo.iterdir()) == []


def test_a_model_is_fetched_once(cli: Cli, host: Host, zoo: Path, tmp_path: Path) -> None:
    done = cli("zoo", "pull", f"{host.url}/letters")
    folder = zoo / "letters@1.0.0"
    assert (done.code, done.out) == (0, "")
    assert done.err == f"letters@1.0.0 fetched: {folder}\n"
    assert sorted(p.name for p in folder.iterdir()) == ["card.json", "generator.onnx"]
    for name in ("card.json", "generator.onnx"):
        assert (folder / name).read_bytes() == (tmp_path / "www/letters" / name).read_bytes()
    assert [path.name for path in zoo.iterdir()] == ["letters@1.0.0"]
    assert cli("zoo", "verify").code == 0
    before = len([1 for _, path, _ in host.asked if path.endswith(".onnx")])
    again = cli("zoo", "pull", f"{host.url}/letters/")
    assert (again.code, again.err) == (0, f"letters@1.0.0 is there already: {folder}\n")
    assert len([1 for _, path, _ in host.asked if path.endswith(".onnx")]) == before


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_broke_off_is_gone_on_with(
    cli: Cli, host: Host, zoo: Path, card: Card, tmp_path: Path, ranges: bool
) -> None:
    content = (tmp_path / "www/letters/generator.onnx").read_bytes()
    part = zoo / f".pull-{card.artifact.sha256[:16]}" / "generator.onnx.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content[:1000])
    host.ranges = ranges
    assert cli("zoo", "pull", f"{host.url}/letters").code == 0
    assert (zoo / "letters@1.0.0/generator.onnx").read_bytes() == content
    fetched = [asked for method, path, asked in host.asked if method == "GET" and "onnx" in path]
    assert (fetched[-1] or "").startswith("bytes=1000-") is ranges
    assert [path.name for path in zoo.iterdir()] == ["letters@1.0.0"]


def test_what_came_before_a_break_is_kept(
    cli: Cli, host: Host, zoo: Path, card: Card, tmp_path: Path
) -> None:
    host.ranges = False
    size = (tmp_path / "www/letters/generator.onnx").stat().st_size
    host.break_off = size - 1
    assert size - 1 > len(card.to_json())
    done = cli("zoo", "pull", f"{host.url}/letters")
    assert done.code == 2
    assert done.err.startswith(f"error: {host.url}/letters/generator.onnx: ")
    assert "Traceback" not in done.err
    assert Catalog.open(zoo).entries == []
    kept = (zoo / f".pull-{card.artifact.sha256[:16]}/generator.onnx.part").stat().st_size
    assert 0 < kept < size
    host.ranges, host.break_off = True, None
    assert cli("zoo", "pull", f"{host.url}/letters").code == 0
    assert host.asked[-1] == ("GET", "/letters/generator.onnx", f"bytes={kept}-{size - 1}")
    assert [entry.card for entry in Catalog.open(zoo).entries] == [card]


def test_a_part_of_something_else_is_found_out(cli: Cli, host: Host, zoo: Path, card: Card) -> None:
    part = zoo / f".pull-{card.artifact.sha256[:16]}" / "generator.onnx.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"other" * 50)
    done = cli("zoo", "pull", f"{host.url}/letters")
    assert done.code == 2
    assert "sha256 is" in done.err
    assert _nothing_left(zoo)
    assert cli("zoo", "pull", f"{host.url}/letters").code == 0


def test_a_wrong_hash_leaves_nothing_behind(
    cli: Cli, host: Host, zoo: Path, card: Card, tmp_path: Path
) -> None:
    with (tmp_path / "www/letters/generator.onnx").open("ab") as file:
        file.write(b"\0")
    digest = hashlib.sha256((tmp_path / "www/letters/generator.onnx").read_bytes()).hexdigest()
    done = cli("zoo", "pull", f"{host.url}/letters")
    assert (done.code, done.err) == (
        2,
        f"error: {host.url}/letters/generator.onnx: sha256 is {digest}, the card says "
        f"{card.artifact.sha256}: it was altered, or the card is of another file\n",
    )
    assert _nothing_left(zoo)


def test_the_largest_that_is_taken(cli: Cli, host: Host, zoo: Path, tmp_path: Path) -> None:
    size = (tmp_path / "www/letters/generator.onnx").stat().st_size
    done = cli("zoo", "pull", f"{host.url}/letters", "--max-bytes", size - 1)
    assert (done.code, done.err) == (
        2,
        f"error: {host.url}/letters/generator.onnx: has {size:,} bytes, more than {size - 1:,} "
        "(--max-bytes)\n",
    )
    assert _nothing_left(zoo)
    assert cli("zoo", "pull", f"{host.url}/letters", "--max-bytes", size).code == 0


def test_a_card_that_is_too_large(cli: Cli, host: Host, zoo: Path, tmp_path: Path) -> None:
    path = tmp_path / "www/letters/card.json"
    text = path.read_text()
    path.write_text(text + " " * (4 * 1024 * 1024 - len(text)))
    assert cli("zoo", "pull", f"{host.url}/letters").code == 0
    path.write_text(path.read_text() + " ")
    done = cli("zoo", "pull", f"{host.url}/letters", "--zoo", tmp_path / "other")
    assert (done.code, done.err) == (
        2,
        f"error: {host.url}/letters/card.json: is larger than 4,194,304 bytes\n",
    )
    assert _nothing_left(tmp_path / "other")


@pytest.mark.parametrize("file", ["../../evil.onnx", "/etc/evil.onnx", ".evil.onnx", "a/b.onnx"])
def test_names_that_lead_elsewhere(
    cli: Cli, host: Host, zoo: Path, card: Card, tmp_path: Path, file: str
) -> None:
    _edit_card(tmp_path, artifact={**json.loads(card.to_json())["artifact"], "file": file})
    done = cli("zoo", "pull", f"{host.url}/letters")
    assert done.code == 2
    assert done.err.startswith(
        f"error: {host.url}/letters/card.json: is no card: artifact.file: String should match"
    )
    assert _nothing_left(zoo)


def test_a_name_of_a_model_that_leads_elsewhere(
    cli: Cli, host: Host, zoo: Path, tmp_path: Path
) -> None:
    _edit_card(tmp_path, name="../evil")
    done = cli("zoo", "pull", f"{host.url}/letters")
    assert done.code == 2
    assert "is no card: name: String should match" in done.err
    assert _nothing_left(zoo)


def test_a_file_that_is_no_graph(cli: Cli, host: Host, zoo: Path, tmp_path: Path) -> None:
    _replace_artifact(tmp_path, b"no graph")
    done = cli("zoo", "pull", f"{host.url}/letters")
    assert done.code == 2
    assert done.err.startswith(f"error: {host.url}/letters: generator.onnx: ")
    assert _nothing_left(zoo)


@pytest.mark.parametrize("there", ["file:///etc/passwd", "ftp://127.0.0.1/card.json"])
def test_redirects_that_leave_http(cli: Cli, host: Host, zoo: Path, there: str) -> None:
    host.redirects["/letters/card.json"] = there
    done = cli("zoo", "pull", f"{host.url}/letters")
    assert (done.code, done.err) == (
        2,
        f"error: {host.url}/letters/card.json: leads to {there!r}, which is not followed\n",
    )
    assert _nothing_left(zoo)


def test_other_redirects_are_followed(cli: Cli, host: Host, zoo: Path) -> None:
    for name in ("card.json", "generator.onnx"):
        host.redirects[f"/moved/{name}"] = f"{host.url}/letters/{name}"
    assert cli("zoo", "pull", f"{host.url}/moved").code == 0


def test_hosts_that_do_not_answer(cli: Cli, host: Host, zoo: Path, nobody: str) -> None:
    done = cli("zoo", "pull", f"http://{nobody}/letters")
    assert done.code == 2
    assert done.err.startswith(f"error: http://{nobody}/letters/card.json: ")
    assert "onnect" in done.err
    done = cli("zoo", "pull", f"{host.url}/nothing")
    assert (done.code, done.err) == (2, f"error: {host.url}/nothing/card.json: is not there\n")
    host.redirects["/half/card.json"] = f"{host.url}/letters/card.json"  # a card and no graph
    done = cli("zoo", "pull", f"{host.url}/half")
    assert (done.code, done.err) == (2, f"error: {host.url}/half/generator.onnx: is not there\n")
    host.failing = True
    done = cli("zoo", "pull", f"{host.url}/letters")
    assert done.code == 2
    assert "500" in done.err
    assert _nothing_left(zoo)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "http://example.org/m",
            "'http://example.org/m': anybody on the way can change it; use https://",
        ),
        *(
            (
                url,
                f"{url!r} is none; it must begin with one of https://, hf://, s3://, file://",
            )
            for url in (
                "letters",
                "ftp://host/m",
                "github://o/r",
                "memory://m",
                "simplecache::s3://m",
            )
        ),
    ],
)
def test_urls_that_are_none(cli: Cli, zoo: Path, url: str, told: str) -> None:
    done = cli("zoo", "pull", url)
    assert (done.code, done.err) == (2, f"error: URL: {told}\n")
    assert _nothing_left(zoo)


def test_another_model_of_that_name_is_not_replaced(
    cli: Cli, host: Host, zoo: Path, tmp_path: Path
) -> None:
    mine = write_toy(zoo, "letters")
    done = cli("zoo", "pull", f"{host.url}/letters")
    assert done.code == 2
    assert done.err.startswith(f"error: {zoo}/letters: is another letters@1.0.0, of sha256 ")
    assert [entry.card for entry in Catalog.open(zoo).entries] == [mine]
