"""`ganagerie sample`: what a set holds, and that the same command always gives the same bytes."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from ganagerie import Client
from ganagerie.sampling.job import MAX_COUNT
from tests.ganagerie.conftest import Cli
from tests.toys import write_toy
from zoo.errors import shown


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_zoo(tmp_path: Path, toy_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANAGERIE_ZOO", str(toy_zoo))


def files(folder: str | Path) -> dict[str, bytes]:
    """Images by relative path."""
    root = Path(folder)
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.png")}


def test_classes_are_balanced_and_images_are_the_servers(cli: Cli, client: Client) -> None:
    done = cli("sample", "letters", "-n", 8, "--seed", 5, "--truncation", 0.5, "-o", "set/")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("8 of letters@1.0.0, seed 5 to 12: set/ (8 made now, ")
    made = files("set")
    for i in range(8):
        name = "ABC"[i % 3]
        (served,) = client.generate("letters", classes=name, truncation=0.5, seed=5 + i)
        assert made.pop(f"{name}/{i:06d}.png") == served.data
    assert made == {}
    loaded = ImageFolder("set")
    assert loaded.classes == ["A", "B", "C"]
    assert Counter(loaded.targets) == {0: 3, 1: 3, 2: 2}


def test_one_class_and_the_prior(cli: Cli, client: Client) -> None:
    assert cli("sample", "letters", "-n", 3, "--class", "B", "-o", "one").code == 0
    served = client.generate("letters", count=3, classes="B", seed=0)
    assert files("one") == {f"B/{i:06d}.png": image.data for i, image in enumerate(served)}
    assert cli("sample", "letters", "-n", 9, "--prior", "-o", "prior").code == 0
    served = client.generate("letters", count=9, seed=0)
    assert sorted(files("prior").values()) == sorted(image.data for image in served)


def test_without_classes_images_lie_side_by_side(cli: Cli, client: Client) -> None:
    options = ("--truncation", 0.7, "--truncation-mode", "scale", "--seed", 2**64 - 3)
    assert cli("sample", "plain", "-n", 3, *options, "-o", "set").code == 0
    served = client.generate(
        "plain", count=3, truncation=0.7, truncation_mode="scale", seed=2**64 - 3
    )
    assert files("set") == {f"{i:06d}.png": image.data for i, image in enumerate(served)}


def test_all_layouts_hold_the_same_images(cli: Cli) -> None:
    n = 2003
    for output in ("set/", "set.zip", "set.tar"):
        assert cli("sample", "colour", "-n", n, "-o", output).code == 0
    made = files("set")
    assert len(made) == n
    with zipfile.ZipFile("set.zip") as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {name: archive.read(name) for name in archive.namelist()} == made
        assert archive.namelist() == [f"{('red', 'green')[i % 2]}/{i:06d}.png" for i in range(n)]
    shards = sorted(path.name for path in Path.cwd().glob("set-*"))
    assert shards == ["set-000000.tar", "set-000001.tar", "set-000002.tar"]
    for start, shard in zip((0, 1000, 2000), shards, strict=True):
        with tarfile.open(shard) as tar:
            contents = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]  # all are files
            indices = range(start, min(start + 1000, n))
            # webdataset: members of one sample follow one another and share what is before the dot
            assert list(contents) == [
                f"{i:06d}.{kind}" for i in indices for kind in ("png", "json")
            ]
            for i in indices:
                name = ("red", "green")[i % 2]
                assert contents[f"{i:06d}.png"] == made[f"{name}/{i:06d}.png"]
                assert json.loads(contents[f"{i:06d}.json"]) == {
                    "model": "colour@1.0.0",
                    "seed": i,
                    "class": name,
                    "class_index": i % 2,
                    "truncation": None,
                    "truncation_mode": "threshold",
                }


@pytest.mark.parametrize("output", ["{}.zip", "{}.tar"])
def test_bytes_do_not_depend_on_threads_or_batches(cli: Cli, output: str) -> None:
    for name, options in {"a": ("--threads", 1, "--batch", 7), "b": ("--threads", 5)}.items():
        Path(name).mkdir()
        done = cli("sample", "letters", "-n", 1200, *options, "-o", f"{name}/{output.format('s')}")
        assert done.code == 0
    a, b = ({p.name: p.read_bytes() for p in Path(name).iterdir()} for name in "ab")
    assert len(a) >= 2
    assert a == b


def test_a_complete_set_is_left_alone(cli: Cli) -> None:
    for output in ("set", "set.zip", "set.tar"):
        command = ("sample", "letters", "-n", 7, "-o", output)
        assert cli(*command).code == 0
        before = {path: path.stat().st_mtime_ns for path in Path.cwd().rglob("*.*")}
        again = cli(*command)
        assert again.code == 0
        assert again.err == f"7 of letters@1.0.0, seed 0 to 6: {output} (all were there)\n"
        assert {path: path.stat().st_mtime_ns for path in Path.cwd().rglob("*.*")} == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("-n", 8), "count 7, not 8"),
        (("-n", 7, "--seed", 1), "seed 0, not 1"),
        (("-n", 7, "--prior"), "classes 'balanced', not 'prior'"),
        (("-n", 7, "--truncation", 0.5), "truncation None, not 0.5"),
    ],
)
@pytest.mark.parametrize("output", ["set", "set.zip", "set.tar"])
def test_other_settings_are_refused(
    cli: Cli, output: str, options: tuple[object, ...], told: str
) -> None:
    assert cli("sample", "letters", "-n", 7, "-o", output).code == 0
    record = "set/sample.json" if output == "set" else f"{output}.json"
    before = {path: path.read_bytes() for path in Path.cwd().rglob("*.*")}
    done = cli("sample", "letters", *options, "-o", output)
    assert (done.code, done.err) == (
        2,
        f"error: {output}: was begun with {told}; go on with the settings in {record}, "
        "or name another output\n",
    )
    assert {path: path.read_bytes() for path in Path.cwd().rglob("*.*")} == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("letters", "-n", 0), f"count: 0 is outside 1 to {MAX_COUNT}"),
        (("letters", "-n", MAX_COUNT + 1), f"count: {MAX_COUNT + 1} is outside 1 to {MAX_COUNT}"),
        (("plain", "-n", 1, "--class", "A"), "--class: plain@1.10.0 has no classes; leave it out"),
        (("plain", "-n", 1, "--prior"), "--prior: plain@1.10.0 has no classes; leave it out"),
        (("letters", "-n", 1, "--class", "A", "--prior"), "--class: leave out --prior with it"),
        (
            ("letters", "-n", 1, "--class", "D"),
            "conditions[0].class_name: 'D' is not a class of letters@1.0.0; nearest: "
            "'C', 'B', 'A' (GetModel lists all 3)",
        ),
        (
            ("letters", "-n", 1, "--truncation", -1),
            "truncation: -1.0 is not allowed; a finite number of at least 0, or unset",
        ),
        (
            ("letters", "-n", 2, "--seed", 2**64 - 1),
            f"seed: {shown(2**64 - 1)} is outside 0 to {2**64 - 2} "
            "(the seed of the last of 2 images must fit in 64 bits)",
        ),
        (
            ("letters", "-n", 1, "-o", ""),
            "-o is empty: name a folder, a NAME.zip, or a NAME.tar for shards",
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(
    cli: Cli, options: tuple[object, ...], told: str
) -> None:
    done = cli("sample", *options, *(() if "-o" in options else ("-o", "set")))
    assert (done.code, done.err) == (2, f"error: {told}\n")
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("output", "there", "record"),
    [
        ("set", "set/mine.txt", "sample.json"),
        ("set.zip", "set.zip", "set.zip.json"),
        ("set.zip", "set.zip.part", "set.zip.json"),
        ("set[1].zip", "set[1].zip", "set[1].zip.json"),
        ("set.tar", "set-000000.tar", "set.tar.json"),
        ("set.tar", "set-000003.tar.part", "set.tar.json"),
        ("set[1].tar", "set[1]-000000.tar", "set[1].tar.json"),
    ],
)
def test_somebody_elses_files_are_left_alone(
    cli: Cli, output: str, there: str, record: str
) -> None:
    Path(there).parent.mkdir(exist_ok=True)
    Path(there).write_text("mine")
    done = cli("sample", "letters", "-n", 1, "-o", output)
    assert (done.code, done.err) == (
        2,
        f"error: {output}: there is something already, and no {record} that says what; "
        "name another output\n",
    )
    assert Path(there).read_text() == "mine"


def test_names_that_are_nearly_the_same_are_no_hindrance(cli: Cli) -> None:
    for name in ("set1.zip", "set1-000000.tar", "set[1]-a.tar", "set[1]-000000.tar.gz"):
        Path(name).write_text("mine")
    for output in ("set[1].zip", "set[1].tar"):
        assert cli("sample", "letters", "-n", 1, "-o", output).code == 0


def test_places_that_cannot_be_written(cli: Cli) -> None:
    Path("file").write_text("")
    for output, told in {
        "file": "error: cannot write file: File exists\n",
        "file/set": "error: cannot write file/set: Not a directory\n",
        "no/such.zip": "error: cannot write no/such.zip: No such file or directory\n",
        "/proc/set": "error: cannot write /proc/set: No such file or directory\n",
    }.items():
        assert (cli("sample", "letters", "-n", 1, "-o", output)).err == told


def test_what_is_no_record_is_not_taken_for_one(cli: Cli) -> None:
    Path("set").mkdir()
    Path("set/sample.json").write_text('{"model": 3}')
    done = cli("sample", "letters", "-n", 1, "-o", "set")
    assert (done.code, done.err) == (
        2,
        "error: set/sample.json: is not the record of a set; name another output, or move it "
        "away\n",
    )


def test_names_of_classes_stay_in_the_folder(cli: Cli, tmp_path: Path) -> None:
    names = ("..", "../../out", ".hidden", "a/b", "50%", "a:b", "end.", "é")
    write_toy(tmp_path / "zoo", "odd", classes=names)
    for output in ("set", "set.zip"):
        done = cli("sample", "odd", "-n", len(names), "-o", output, "--zoo", "zoo")
        assert done.code == 0, done.err
    expected = {
        f"{name}/{i:06d}.png"
        for i, name in enumerate(
            ("%2E%2E", "%2E.%2F..%2Fout", "%2Ehidden", "a%2Fb", "50%25", "a%3Ab", "end%2E", "é")
        )
    }
    assert set(files("set")) == expected
    with zipfile.ZipFile("set.zip") as archive:
        assert set(archive.namelist()) == expected
