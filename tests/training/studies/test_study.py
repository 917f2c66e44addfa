"""What every study has in common: sizes, progress, results, and how the command tells them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
import torch
from pydantic import BaseModel, ConfigDict, Field

from tests.training.conftest import Cli
from training import studies
from training.errors import RunError, StudyError, StudyStopped
from training.studies.drawing import drawing
from training.studies.perform import perform
from training.studies.study import Claim, Figure, Findings, Setting, Study

PNG = b"\x89PNG\r\n\x1a\n"


class Sizes(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: Annotated[int, Field(gt=0)] = 100
    width: int = 64


def setting(out: Path, *overrides: str, quick: bool = False, full: bool = False) -> Setting:
    return Setting(quick=quick, full=full, data=out, out=out, overrides=overrides)


def sizes(out: Path, *overrides: str, quick: bool = False, full: bool = False) -> Sizes:
    given = setting(out, *overrides, quick=quick, full=full)
    return given.sizes(Sizes, reduced={"epochs": 10}, quick={"epochs": 1, "width": 2})


def toy(fail: Exception | None = None) -> Study:
    """Draws a line, and finds what is not a number."""

    def run(given: Setting) -> Findings:
        torch.rand(3)
        list(given.track(range(3), "counting"))
        figure = Figure(name="line", caption="a <line>")
        with drawing(given, figure, "A line") as (axis,):
            axis.plot([0, 1])
        if fail is not None:
            raise fail
        return Findings(
            study="path-sgd",
            quick=given.quick,
            settings={"epochs": 3},
            numbers={"loss": [0.5, float("nan"), float("inf")]},
            claims=(
                Claim(author="it <rises>", found="from 0 to 1", agrees=True),
                Claim(author="it falls", found="from 0 to 1", agrees=False),
                Claim(author="it is green", found="nobody looked", agrees=None),
            ),
            figures=(figure,),
            words="A line was found.",
        )

    return Study("path-sgd", "A toy", "Is there a line?", "Nobody's experiment.", run)


def test_sizes_are_full_reduced_or_quick(tmp_path: Path) -> None:
    assert sizes(tmp_path, full=True) == Sizes()
    assert sizes(tmp_path) == Sizes(epochs=10)
    assert sizes(tmp_path, quick=True) == Sizes(epochs=1, width=2)
    assert sizes(tmp_path, "width=7", " epochs =3", quick=True) == Sizes(epochs=3, width=7)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "--set epoch: unknown; known: epochs, width"),
        ("epochs=0", "--set epochs=0: Input should be greater than 0"),
        ("epochs", "--set 'epochs': must be key=value, e.g. epochs=2"),
        ("=3", "--set '=3': must be key=value, e.g. epochs=2"),
    ],
)
def test_a_size_that_cannot_be_is_told(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        sizes(tmp_path, override)
    assert str(caught.value) == message


def test_every_study_has_the_name_and_title_that_the_list_gives(cli: Cli) -> None:
    listed = cli("study", "list")
    assert (listed.code, listed.err) == (0, "")
    assert len(listed.out.splitlines()) == len(studies.TITLES) == 6
    for line, (name, title) in zip(listed.out.splitlines(), studies.TITLES.items(), strict=True):
        assert line.split(maxsplit=1) == [name, title]


@pytest.mark.parametrize("name", studies.TITLES)
def test_a_study_is_loaded_by_its_name(name: str) -> None:
    study = studies.load(name)
    assert (study.name, study.title) == (name, studies.TITLES[name])


def test_an_unknown_study_is_told(cli: Cli) -> None:
    refused = cli("study", "batchnorm")
    assert refused.code == 2
    assert refused.err.startswith("error: unknown study 'batchnorm'; did you mean 'batch-norm'? ")
    assert refused.err.count("\n") == 1


def test_results_are_numbers_a_figure_and_a_page(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    state = torch.get_rng_state()
    found = perform(toy(), setting(out, quick=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "line.png", "results.json"]
    results = json.loads((out / "results.json").read_text())
    assert results["numbers"] == {"loss": [0.5, None, None]}
    assert results["claims"] == [claim.model_dump() for claim in found.claims]
    assert results["made"]["device"] == "cpu"
    assert (out / "line.png").read_bytes().startswith(PNG)
    page = (out / "index.html").read_text()
    assert "<h1>A toy</h1>" in page
    assert "it &lt;rises&gt;" in page
    assert "a &lt;line&gt;" in page
    assert page.count("data:image/png;base64,") == 1
    assert "src=" not in page.replace('src="data:', "")
    assert "--quick" in page
    for verdict in (">agrees<", ">disagrees<", ">cannot tell<"):
        assert page.count(verdict) == 1


def test_results_are_not_overwritten(tmp_path: Path) -> None:
    perform(toy(), setting(tmp_path))
    before = (tmp_path / "results.json").read_bytes()
    with pytest.raises(RunError) as caught:
        perform(toy(), setting(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path} holds results already; name another folder with --out"
    )
    assert (tmp_path / "results.json").read_bytes() == before


def test_a_study_that_fails_leaves_no_results_and_may_be_repeated(tmp_path: Path) -> None:
    with pytest.raises(StudyError):
        perform(toy(StudyError("no")), setting(tmp_path))
    assert not (tmp_path / "results.json").exists()
    perform(toy(), setting(tmp_path))
    assert (tmp_path / "results.json").exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"^cannot write to .*/file/out: .*; use --out$"):
        perform(toy(), setting(tmp_path / "file" / "out"))


def test_what_is_tracked_stops_when_asked(tmp_path: Path) -> None:
    seen: list[int] = []
    given = Setting(quick=True, data=tmp_path, out=tmp_path, stop_requested=lambda: len(seen) == 2)

    def go() -> Iterator[int]:
        yield from given.track(range(5), "counting")

    with pytest.raises(StudyStopped):
        seen.extend(iter_into(go(), seen))
    assert seen == [0, 1]


def iter_into(items: Iterator[int], seen: list[int]) -> list[int]:
    for item in items:
        seen.append(item)
    return []


def test_the_command_tells_words_and_claims(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(studies, "load", lambda _: toy())
    done = cli("study", "path-sgd", "--quick", "--out", tmp_path / "out", "--device", "cpu")
    assert done.code == 0
    assert "A trial (--quick)" in done.out
    assert "A line was found." in done.out
    lines = [line.split() for line in done.out.splitlines()]
    assert ["agrees", "it", "<rises>", "from", "0", "to", "1"] in lines
    assert ["disagrees", "it", "falls", "from", "0", "to", "1"] in lines
    assert ["cannot", "tell", "it", "is", "green", "nobody", "looked"] in lines
    assert done.out.splitlines()[-1] == str(tmp_path / "out" / "index.html")
    again = cli("study", "path-sgd", "--out", tmp_path / "out")
    assert (again.code, again.out) == (2, "")
    assert again.err.splitlines()[-1].startswith(f"error: {tmp_path / 'out'} holds results already")


def test_an_interrupt_ends_the_command_without_results(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(given: Setting) -> Findings:
        for number in given.track(range(1000), "counting"):
            if number == 3:
                signal.raise_signal(signal.SIGINT)
            assert number < 5
        raise AssertionError

    monkeypatch.setattr(studies, "load", lambda _: Study("path-sgd", "", "", "", run))
    done = cli("study", "path-sgd", "--out", tmp_path / "out", "--device", "cpu")
    assert (done.code, done.out) == (130, "")
    assert done.err.splitlines()[-1] == "stopped before there were results: nothing was written"
    assert list((tmp_path / "out").iterdir()) == []


def test_quick_and_full_exclude_each_other(cli: Cli) -> None:
    refused = cli("study", "batch-norm", "--quick", "--full")
    assert (refused.code, refused.err) == (2, "error: --quick and --full: give one of them\n")
