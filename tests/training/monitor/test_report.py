"""`ganagerie monitor report`: the page, the picture, and what becomes of poor series."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tests.training.conftest import Cli
from tests.training.monitor.recorded import lines, script, tick, write_run
from training.monitor.verdict import Health

SPECTRA_TITLES = [f"{sigma} of {network}" for network in "GD" for sigma in ("σ₀", "σ₁", "σ₂")]
EXTERNAL = re.compile(r"""(?:src|href)=["'](?!data:|#)|url\((?!#)|@import|<script|<link""")
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A page that is well formed; what it says, and its pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.texts: list[str] = []
        self.captions: list[str] = []
        self.images: list[Image.Image] = []
        self._open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "figcaption":
            self.captions.append("")
        if tag == "img":
            source = dict(attrs)["src"] or ""
            assert dict(attrs)["alt"]
            content = base64.b64decode(source.partition("base64,")[2])
            self.images.append(Image.open(io.BytesIO(content)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        if data.strip():
            self.texts.append(data.strip())
        if "figcaption" in self._open:
            self.captions[-1] += data + " " * ("b" in self._open)

    def fact(self, name: str) -> str:
        return self.texts[self.texts.index(name) + 1]


def report(cli: Cli, run: Path, *options: str | Path) -> tuple[Page, Path]:
    finished = cli("monitor", "report", run, *options)
    assert (finished.code, finished.err) == (0, "")
    page, png = map(Path, finished.out.split())
    with Image.open(png) as picture:
        assert picture.width >= 1000
    return Page(page), page


def test_page_of_a_run(cli: Cli, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    page, path = report(cli, run)
    assert path == run / "report.html"
    assert (run / "report.png").is_file()
    assert not EXTERNAL.search(page.source)
    assert len(page.source) < 500_000
    assert [text for text in page.texts if text in SPECTRA_TITLES] == SPECTRA_TITLES
    for title in (
        "Growth of σ₀ of G over 6 readings",
        "Gradient norms of D",
        "Step of an update of G, ‖ΔW‖ / ‖W‖",
        "Proxy FID",
        "Diversity, over that of real images",
        "Share that D judges rightly",
        "Losses",
        "Means of D's logits",
        "best 40 at 500",
        "real images",
        "held-out",
    ):
        assert title in page.texts
    assert "healthy" in page.texts
    facts = {
        "iterations": "1,000 of 2,000",
        "images seen": "10,000",
        "best proxy FID": "40 at 500",
        "last proxy FID": "50",
        "proxy FID of real images": "2.5",
        "the monitor took": "50 ms a tick, 2.00% of the time",
        "rows read": "20",
        "recipe": "toy",
        "learning rate of G": "0.0125",
        "seed": "7",
    }
    assert {name: page.fact(name) for name in facts} == facts
    assert "rows passed over" not in page.texts
    assert "Samples at the moments that mattered" not in page.texts


def test_same_files_make_the_same_page(cli: Cli, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", samples=[500])
    first, _ = report(cli, run)
    again, _ = report(cli, run)
    assert first.source == again.source


def test_samples_at_the_moments(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", samples=[100, 200, 450, 600, 700, 800, 900, 1000])
    (run / "samples" / "notes.png").write_bytes(b"")
    healths = {100: Health.suspect, 150: Health.healthy, 700: Health.suspect, 850: Health.collapsed}
    script(monkeypatch, healths, since=650)
    page, _ = report(cli, run)
    assert [" ".join(caption.split()) for caption in page.captions] == [
        "Samples at iteration 100 first",
        "Samples at iteration 450 best proxy FID, at 500",
        "Samples at iteration 600 last before the first sign, at 650",
        "Samples at iteration 700 suspect from 700",
        "Samples at iteration 900 collapsed from 850",
        "Samples at iteration 1,000 last",
    ]
    assert [image.getpixel((0, 0)) for image in page.images] == [
        itr % 251 for itr in (100, 450, 600, 700, 900, 1000)
    ]
    assert {image.size for image in page.images} == {(40, 40)}  # the top of a tower


def test_large_grids_are_made_small(cli: Cli, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", samples=[100])
    noise = Image.effect_noise((1040, 1040), 90).convert("RGB")
    noise.save(run / "samples" / "00000200.png")
    page, _ = report(cli, run)
    assert [image.width for image in page.images] == [40, 520]
    assert page.images[1].format == "JPEG"
    assert len(page.source) < 700_000


def test_verdict_is_told_and_drawn(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run")
    script(monkeypatch, {600: Health.suspect, 1000: Health.collapsed}, since=550)
    page, _ = report(cli, run)
    assert page.texts[2:5] == [
        "collapsed",
        "since iteration 550",
        "sigma0 of <linear> [bold]grows[/bold]",
    ]
    assert "<linear>" not in page.source
    assert {"suspect", "collapsed"} <= set(page.texts)
    # Behind each of the panels: a band of either, though the last one has no length yet.
    for colour in ("#fff0b3", "#ffd9d9"):
        assert page.source.count(f"fill: {colour}") == page.source.count("<svg")
    story = page.texts[page.texts.index("What happened") :]
    assert [text for text in story if text[0].isdecimal()] == ["50", "600", "1,000"]


def test_rollbacks_are_marked(cli: Cli, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    plain, _ = report(cli, run)
    for number, (end, back) in enumerate([(700, 400), (800, 400)], 1):
        write_run(run / "rollbacks" / f"{number:02d}", last=end)
        with (run / "events.jsonl").open("a") as file:
            event = {"itr": end, "event": "rollback", "to_itr": back, "changed": {"d_steps": 2}}
            file.write(json.dumps(event) + "\n")
    page, _ = report(cli, run)
    assert page.source.count("↶1,2") == page.source.count("<svg")
    assert "stroke-dasharray" in page.source
    assert len(page.source) > len(plain.source)
    assert "iteration 700: rolled back to 400, now d_steps=2" in page.texts
    assert any(text.startswith("A broken upright line and ↶") for text in page.texts)


def test_rollback_whose_lines_are_gone(cli: Cli, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "events.jsonl").write_text('{"itr": 700, "event": "rollback", "to_itr": 400}\n{"torn')
    page, _ = report(cli, run)
    assert page.source.count("↶1") >= page.source.count("<svg")


def test_long_run_with_many_layers_stays_light(cli: Cli, tmp_path: Path) -> None:
    records = []
    for i in range(1, 3001):
        layers = {f"blocks.{n}.conv": [2 + n + (i * (n + 3) % 7) / 9] * 3 for n in range(20)}
        records.append({"itr": i * 10, "G": layers})
    (tmp_path / "spectra.jsonl").write_text(lines(records))
    page, path = report(cli, tmp_path / "spectra.jsonl")
    assert path.name == "spectra-report.html"
    assert "blocks.19.conv" in page.texts
    assert len(page.source) < 2_500_000


def test_csv_of_somebody(cli: Cli, tmp_path: Path) -> None:
    table = tmp_path / "their<run>.csv"
    rows = [f"{i * 1000},{100 - i},{1 + i / 9},1.5,1,2,{i},{i + 1}" for i in range(1, 30)]
    header = "step,fid,is,d_loss_mean,d_loss_min,d_loss_max,g_loss,G_linear_sv0"
    table.write_text("\n".join([header, *rows, "x,1,1,1,1,1,1,1"]) + "\n")
    page, path = report(cli, table, "--out", tmp_path / "deep" / "page.html")
    assert path == tmp_path / "deep" / "page.html"
    assert (tmp_path / "deep" / "page.png").is_file()
    titles = ("FID", "Inception score", "Losses", "σ₀ of G")
    assert all(title in page.texts for title in titles)
    assert not {"σ₁ of G", "σ₀ of D", "Means of D's logits"} & set(page.texts)
    assert any(re.fullmatch(r"\d+k", text) for text in page.texts)
    assert "seed" not in page.texts
    assert page.fact("best FID") == "71 at 29,000"
    assert page.fact("rows passed over") == "1"
    assert page.texts[0] == "their<run>.csv: " + page.texts[2]


def test_numbers_that_are_none_or_run_away(cli: Cli, tmp_path: Path) -> None:
    records = [tick(itr) for itr in range(50, 1001, 50)]
    records[5]["G"]["linear"] = [None, None, None]
    records[9]["loss"] = {"d": None, "g": 1e30}
    records[12]["D"] = {}
    records[13] |= {"proxy_fid": None, "fid": 0.0}
    (tmp_path / "spectra.jsonl").write_text(lines(records))
    page, _ = report(cli, tmp_path / "spectra.jsonl")
    assert "Losses" in page.texts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 usable rows; a report needs 2 or more"),
        ('{"itr": 1, "loss": {"d": 1}}\n', "1 usable row; a report needs 2 or more"),
        ('{"itr": 1}\n{"itr": 1}\n', "1 usable row, 1 cannot be read; a report needs 2 or more"),
        ("not JSON\n", "0 usable rows, 1 cannot be read; a report needs 2 or more"),
    ],
)
def test_too_little_is_one_line(cli: Cli, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "spectra.jsonl").write_text(text)
    finished = cli("monitor", "report", "spectra.jsonl")
    assert (finished.code, finished.out) == (2, "")
    assert finished.err == f"error: spectra.jsonl: {message}\n"
    assert not list(tmp_path.glob("*report*"))


def test_two_bare_rows_are_enough(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "spectra.jsonl").write_text('{"itr": 1}\n{"itr": 2}\n')
    finished = cli("monitor", "report", "spectra.jsonl")
    assert finished.code == 2
    assert finished.err == (
        "error: spectra.jsonl: its rows have an iteration and nothing that could be drawn\n"
    )
    (tmp_path / "spectra.jsonl").write_text('{"itr": 1}\n{"itr": 2, "loss": {"d": 1}}\n')
    page, _ = report(cli, tmp_path / "spectra.jsonl")
    assert "Losses" in page.texts


def test_what_cannot_be_written_is_one_line(cli: Cli, tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    finished = cli("monitor", "report", "run", "--out", "page.png")
    assert (finished.code, finished.err) == (
        2,
        "error: --out page.png: names the page, which ends in .html; the PNG goes beside it\n",
    )
    (tmp_path / "file").write_text("")
    finished = cli("monitor", "report", "run", "--out", "file/page.html")
    assert finished.code == 2
    assert finished.err.startswith("error: file/page.html: cannot be written: ")
    assert finished.err.count("\n") == 1
    finished = cli("monitor", "report", "nowhere")
    assert finished.err == "error: nowhere: there is no such file or run directory\n"


def test_picture_that_is_broken_is_one_line(cli: Cli, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "samples").mkdir()
    (run / "samples" / "00000100.png").write_text("no picture")
    finished = cli("monitor", "report", "run")
    assert finished.code == 2
    assert finished.err.startswith("error: run/samples/00000100.png: cannot be read: ")
