"""Which models a folder holds, and how they are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.toys import write_toy
from zoo.artifact import read_artifact
from zoo.catalog import Catalog, not_found
from zoo.errors import CardError, ModelNotFound, ZooError

HELD = "colour@1.0.0, letters@1.0.0, plain@1.10.0, plain@1.9.0"


@pytest.fixture
def catalog(toy_zoo: Path) -> Catalog:
    return Catalog.open(toy_zoo)


def references(catalog: Catalog) -> list[str]:
    return [entry.card.reference for entry in catalog.entries]


def test_models_are_listed_by_name_with_the_newest_version_first(catalog: Catalog) -> None:
    assert ", ".join(references(catalog)) == HELD
    assert catalog.broken == {}


@pytest.mark.parametrize(
    ("reference", "version", "folder"),
    [
        ("plain", "1.10.0", "plain"),
        ("plain@1.10.0", "1.10.0", "plain"),
        ("plain@1.9.0", "1.9.0", "plain@1.9.0"),
        ("letters", "1.0.0", "letters"),
    ],
)
def test_a_name_is_its_newest_version(
    catalog: Catalog, toy_zoo: Path, reference: str, version: str, folder: str
) -> None:
    entry = catalog.resolve(reference)
    assert entry.card.reference == f"{reference.split('@')[0]}@{version}"
    assert entry.folder == toy_zoo / folder


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("plane", f"no model 'plane'; did you mean 'plain'? There is: {HELD}"),
        ("Letters", f"no model 'Letters'; did you mean 'letters'? There is: {HELD}"),
        (
            "letters@1.0.1",
            f"no model 'letters@1.0.1'; did you mean 'letters@1.0.0'? There is: {HELD}",
        ),
        ("zebra", f"no model 'zebra'. There is: {HELD}"),
        ("", f"no model ''. There is: {HELD}"),
        ("\x00", f"no model '\\x00'. There is: {HELD}"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    catalog: Catalog, reference: str, text: str
) -> None:
    with pytest.raises(ModelNotFound) as caught:
        catalog.resolve(reference)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "reference", ["plain@", "plain@1.9", "plain@1.9.0@", "plain@01.9.0", " plain", "plain\n", "*"]
)
def test_a_reference_must_match_exactly(catalog: Catalog, reference: str) -> None:
    with pytest.raises(ModelNotFound):
        catalog.resolve(reference)


def test_an_empty_zoo_holds_nothing(tmp_path: Path) -> None:
    catalog = Catalog.open(tmp_path)
    assert catalog.entries == []
    with pytest.raises(ModelNotFound) as caught:
        catalog.resolve("plain")
    assert str(caught.value) == "no model 'plain'. There is: nothing"


def test_at_most_twenty_models_are_listed() -> None:
    known = [f"m{i:02}@1.0.0" for i in range(22)]
    listed = "no model 'zebra'. There is: " + ", ".join(known[:20])
    assert str(not_found("zebra", known[:20])) == listed
    assert str(not_found("zebra", known[:21])) == f"{listed} and 1 more"
    assert str(not_found("zebra", known)) == f"{listed} and 2 more"


def test_a_long_reference_is_cut_in_the_message() -> None:
    assert str(not_found("x" * 80, [])) == f"no model '{'x' * 80}'. There is: nothing"
    assert str(not_found("x" * 81, [])) == (
        f"no model '{'x' * 79}… (81 characters). There is: nothing"
    )


def test_a_folder_must_be_named_as_its_card_says(tmp_path: Path) -> None:
    write_toy(tmp_path, "plain", folder="copy")
    write_toy(tmp_path, "letters", folder="letters@2.0.0")
    catalog = Catalog.open(tmp_path)
    assert catalog.entries == []
    assert catalog.broken == {
        tmp_path / "copy": (
            f"{tmp_path / 'copy'}: the card is of plain@1.0.0, so the folder must be named "
            "plain or plain@1.0.0"
        ),
        tmp_path / "letters@2.0.0": (
            f"{tmp_path / 'letters@2.0.0'}: the card is of letters@1.0.0, so the folder must be "
            "named letters or letters@1.0.0"
        ),
    }


def test_a_second_folder_of_the_same_version_is_refused(tmp_path: Path) -> None:
    write_toy(tmp_path, "plain")
    write_toy(tmp_path, "plain", folder="plain@1.0.0")
    catalog = Catalog.open(tmp_path)
    assert [entry.folder for entry in catalog.entries] == [tmp_path / "plain"]
    second = tmp_path / "plain@1.0.0"
    assert catalog.broken == {second: f"{second}: plain@1.0.0 lies in plain already"}


def test_a_broken_card_does_not_affect_the_others(tmp_path: Path) -> None:
    write_toy(tmp_path, "good")
    for name in ("empty", "garbage", "unknown-key"):
        write_toy(tmp_path, name)
    (tmp_path / "empty" / "card.json").unlink()
    (tmp_path / "garbage" / "card.json").write_text("{")
    card = tmp_path / "unknown-key" / "card.json"
    card.write_text(card.read_text().replace('"limits"', '"limit"'))
    catalog = Catalog.open(tmp_path)
    assert references(catalog) == ["good@1.0.0"]
    assert [folder.name for folder in catalog.broken] == ["empty", "garbage", "unknown-key"]
    for folder, reason in catalog.broken.items():
        assert reason.startswith(f"{folder / 'card.json'}: ")
    with pytest.raises(CardError, match=r"garbage/card\.json: card: Invalid JSON"):
        catalog.resolve("garbage")


def test_a_version_of_thousands_of_digits_does_not_affect_the_others(tmp_path: Path) -> None:
    write_toy(tmp_path, "good")
    write_toy(tmp_path, "huge")
    card = tmp_path / "huge" / "card.json"
    card.write_text(card.read_text().replace('"1.0.0"', f'"{"1" * 5000}.0.0"'))
    catalog = Catalog.open(tmp_path)
    assert references(catalog) == ["good@1.0.0"]
    assert list(catalog.broken) == [tmp_path / "huge"]


def test_hidden_folders_and_files_are_passed_over(tmp_path: Path) -> None:
    write_toy(tmp_path, "good")
    write_toy(tmp_path, "hidden", folder=".hidden")
    (tmp_path / ".git").mkdir()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "README.md").write_text("A zoo.")
    catalog = Catalog.open(tmp_path)
    assert references(catalog) == ["good@1.0.0"]
    assert catalog.broken == {}


def test_a_zoo_may_be_reached_through_a_link(toy_zoo: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(toy_zoo)
    catalog = Catalog.open(link)
    assert ", ".join(references(catalog)) == HELD
    entry = catalog.resolve("plain")
    assert read_artifact(entry.folder, entry.card.artifact)


def test_a_zoo_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing, file = tmp_path / "missing", tmp_path / "file"
    file.touch()
    for zoo, reason in ((missing, "No such file or directory"), (file, "Not a directory")):
        with pytest.raises(ZooError) as caught:
            Catalog.open(zoo)
        assert str(caught.value) == f"zoo {zoo}: cannot be read: {reason}"
