"""Only the file that the card means, only unaltered, and only the graph that it promises."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from pydantic import ValidationError

from tests.toys import write_toy
from zoo.artifact import read_artifact
from zoo.card import Artifact, read_card
from zoo.catalog import Catalog
from zoo.errors import ArtifactError
from zoo.generator import load_generator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_toy(tmp_path, "toy")
    return tmp_path / "toy"


@pytest.fixture
def artifact(folder: Path) -> Artifact:
    return read_card(folder / "card.json").artifact


@pytest.fixture
def soon() -> Iterator[None]:
    """Fails a test that takes more than two seconds."""

    def on_alarm(_signal: int, _frame: FrameType | None) -> None:
        pytest.fail("it hangs")

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 2)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def error_of(folder: Path, artifact: Artifact) -> str:
    with pytest.raises(ArtifactError) as caught:
        read_artifact(folder, artifact)
    return str(caught.value)


def load_error(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        load_generator(Catalog.open(folder.parent).resolve("toy"), "cpu")
    return str(caught.value)


def test_the_bytes_are_those_that_the_card_means(folder: Path, artifact: Artifact) -> None:
    content = read_artifact(folder, artifact)
    assert content == (folder / "generator.onnx").read_bytes()
    assert hashlib.sha256(content).hexdigest() == artifact.sha256


@pytest.mark.parametrize("position", [0, 1000, -1])
def test_one_altered_byte_is_noticed(folder: Path, artifact: Artifact, position: int) -> None:
    path = folder / "generator.onnx"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    assert error_of(folder, artifact) == load_error(folder)
    assert load_error(folder) == (
        f"{path}: sha256 is {hashlib.sha256(content).hexdigest()}, the card says "
        f"{artifact.sha256}: the file was altered or only partly copied; fetch it again"
    )


def test_a_shorter_or_longer_file_is_noticed(folder: Path, artifact: Artifact) -> None:
    path = folder / "generator.onnx"
    whole = path.read_bytes()
    for content in (b"", whole[:1], whole[:1000], whole[:-1], whole + b"\0"):
        path.write_bytes(content)
        assert "the file was altered or only partly copied" in error_of(folder, artifact)


def test_a_missing_file_is_named(folder: Path, artifact: Artifact) -> None:
    path = folder / "generator.onnx"
    path.unlink()
    assert error_of(folder, artifact) == f"{path}: No such file or directory"


def test_a_linked_file_is_refused(folder: Path, artifact: Artifact, tmp_path: Path) -> None:
    path = folder / "generator.onnx"
    path.rename(tmp_path / "elsewhere.onnx")
    path.symlink_to(tmp_path / "elsewhere.onnx")
    assert error_of(folder, artifact) == f"{path}: is a symbolic link"
    path.unlink()
    path.symlink_to(tmp_path / "nothing")
    assert error_of(folder, artifact) == f"{path}: is a symbolic link"


def test_a_linked_folder_is_refused(folder: Path, artifact: Artifact, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert error_of(link, artifact) == f"{link}: is a symbolic link, which a zoo may not hold"


def test_a_card_cannot_name_a_file_elsewhere(artifact: Artifact) -> None:
    elsewhere = ["", ".", "..", "/x.onnx", "../x.onnx", "a/../x.onnx", "a/x.onnx", "a\\x.onnx"]
    odd = [".onnx", ".x.onnx", " x.onnx", "x.onnx/", "x.onnx\n", "x.onnx\0", "x\0.onnx", "x.bin"]
    for file in elsewhere + odd:
        with pytest.raises(ValidationError, match="String should match pattern"):
            Artifact.model_validate({**artifact.model_dump(), "file": file})


@pytest.mark.parametrize("file", ["../x.onnx", "sub/x.onnx", "{zoo}/x.onnx", "", ".", "..", "/"])
def test_a_forged_card_can_only_name_a_file_of_its_folder(
    folder: Path, artifact: Artifact, tmp_path: Path, file: str
) -> None:
    content = (folder / "generator.onnx").read_bytes()
    (folder / "sub").mkdir()
    for place in (tmp_path, folder, folder / "sub"):
        (place / "x.onnx").write_bytes(content)
    file = file.format(zoo=tmp_path)
    forged = Artifact.model_construct(**{**artifact.model_dump(), "file": file})
    assert error_of(folder, forged) == (
        f"{folder / file}: {file!r} is not the name of a file in this folder"
    )


def test_a_folder_in_place_of_the_file_is_refused(folder: Path, artifact: Artifact) -> None:
    path = folder / "generator.onnx"
    path.unlink()
    path.mkdir()
    assert error_of(folder, artifact) == f"{path}: is not a regular file"


@pytest.mark.usefixtures("soon")
def test_a_pipe_in_place_of_the_file_is_refused_at_once(folder: Path, artifact: Artifact) -> None:
    path = folder / "generator.onnx"
    path.unlink()
    os.mkfifo(path)
    assert error_of(folder, artifact) == f"{path}: is not a regular file"


@pytest.mark.usefixtures("soon")
def test_a_pipe_in_place_of_a_card_is_refused_at_once(folder: Path, tmp_path: Path) -> None:
    write_toy(tmp_path, "good")
    (folder / "card.json").unlink()
    os.mkfifo(folder / "card.json")
    catalog = Catalog.open(tmp_path)
    assert [entry.card.name for entry in catalog.entries] == ["good"]
    assert list(catalog.broken) == [folder]


def change_card(folder: Path, part: str, **values: Any) -> None:
    path = folder / "card.json"
    document = json.loads(path.read_text())
    document[part] = {**(document[part] or {}), **values}
    path.write_text(json.dumps(document))


def put(folder: Path, content: bytes) -> Path:
    """Replaces the artifact and its checksum."""
    path = folder / "generator.onnx"
    path.write_bytes(content)
    change_card(folder, "artifact", sha256=hashlib.sha256(content).hexdigest())
    return path


@pytest.fixture
def model(folder: Path) -> onnx.ModelProto:
    """The graph, to be changed and `put` back."""
    return onnx.load_model(folder / "generator.onnx")


def inputs(**widths: int) -> dict[str, tuple[str, list[str | int]]]:
    return {name: ("tensor(float)", ["N", width]) for name, width in widths.items()}


def images(*shape: int) -> dict[str, tuple[str, list[str | int]]]:
    return {"images": ("tensor(uint8)", ["N", *shape])}


@pytest.mark.parametrize(
    ("part", "values", "kind", "found", "promised"),
    [
        ("latent", {"dim": 9}, "inputs", inputs(z=8), inputs(z=9)),
        ("classes", {"names": ["A"]}, "inputs", inputs(z=8), inputs(z=8, class_weights=1)),
        ("image", {"height": 13}, "outputs", images(12, 12, 1), images(13, 12, 1)),
        ("image", {"channels": 3}, "outputs", images(12, 12, 1), images(12, 12, 3)),
    ],
)
def test_a_card_that_promises_another_graph_is_refused(
    folder: Path, part: str, values: dict[str, Any], kind: str, found: object, promised: object
) -> None:
    change_card(folder, part, **values)
    assert load_error(folder) == (
        f"toy@1.0.0: the graph's {kind} are {found}, the card promises {promised}"
    )


@pytest.mark.parametrize("name", ["noise", "class_weights", "truncation"])
def test_an_input_that_nothing_would_feed_is_refused(
    folder: Path, model: onnx.ModelProto, name: str
) -> None:
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1]))
    put(folder, model.SerializeToString())
    assert load_error(folder).startswith(
        f"toy@1.0.0: the graph's inputs are {inputs(z=8, **{name: 1})}, the card promises "
    )


def test_a_graph_without_images_is_refused(folder: Path, model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "pixels"
    put(folder, model.SerializeToString())
    assert load_error(folder) == (
        "toy@1.0.0: the graph's outputs are {'pixels': ('tensor(uint8)', ['N', 12, 12, 1])}, "
        f"the card promises {images(12, 12, 1)}"
    )


def test_a_graph_for_one_image_at_a_time_is_refused(folder: Path, model: onnx.ModelProto) -> None:
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    put(folder, model.SerializeToString())
    assert load_error(folder).startswith("toy@1.0.0: the graph's inputs are ")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 1000])
def test_a_file_that_is_no_graph_is_refused(folder: Path, content: bytes) -> None:
    path = put(folder, content)
    assert load_error(folder).startswith(f"{path}: onnxruntime cannot load it: ")


def test_weights_in_another_file_are_refused(
    folder: Path, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save_model(model, folder / "m", save_as_external_data=True, location="weights")
    assert (folder / "weights").stat().st_size > 0
    path = put(folder, (folder / "m").read_bytes())
    monkeypatch.chdir(folder)  # onnxruntime looks for them here
    assert load_error(folder).startswith(f"{path}: ")
