"""What the zoo service tells of the models."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from scipy import stats

from protos.v1 import ganagerie_pb2 as pb
from tests.server.calls import Refusal, Stubs, connect, refusal
from tests.serving import server_in_thread
from tests.toys import Z_DIM, write_toy
from zoo.card import Card


def listed(stubs: Stubs) -> list[pb.ModelSummary]:
    return list(stubs.zoo.ListModels(pb.ListModelsRequest()).models)


def get(stubs: Stubs, reference: str) -> pb.GetModelResponse:
    return stubs.zoo.GetModel(pb.GetModelRequest(model=reference))


def test_models_are_listed_by_name_and_newest_version_first(stubs: Stubs) -> None:
    assert [(model.name, model.version) for model in listed(stubs)] == [
        ("colour", "1.0.0"),
        ("letters", "1.0.0"),
        ("plain", "1.10.0"),
        ("plain", "1.9.0"),
    ]


def test_a_summary_tells_what_the_card_and_the_file_are(stubs: Stubs, toy_zoo: Path) -> None:
    digest = hashlib.sha256((toy_zoo / "colour" / "generator.onnx").read_bytes()).hexdigest()
    assert listed(stubs)[0] == pb.ModelSummary(
        name="colour",
        version="1.0.0",
        architecture="toy",
        digest=digest,
        width=12,
        height=12,
        channels=3,
        z_dim=Z_DIM,
        n_classes=2,
    )


@pytest.mark.parametrize(
    ("reference", "version"),
    [("plain", "1.10.0"), ("plain@1.10.0", "1.10.0"), ("plain@1.9.0", "1.9.0")],
)
def test_a_name_is_its_newest_version(stubs: Stubs, reference: str, version: str) -> None:
    assert get(stubs, reference).summary.version == version


def test_one_model_is_told_as_in_the_list(stubs: Stubs) -> None:
    for summary in listed(stubs):
        assert get(stubs, f"{summary.name}@{summary.version}").summary == summary


def test_class_names_are_told_in_order_of_index(stubs: Stubs) -> None:
    assert list(get(stubs, "letters").class_names) == ["A", "B", "C"]
    assert not get(stubs, "plain").class_names


def test_the_whole_card_is_told(stubs: Stubs, toy_zoo: Path) -> None:
    card_json = get(stubs, "colour").card_json
    assert card_json == (toy_zoo / "colour" / "card.json").read_text()
    assert Card.model_validate_json(card_json).limits == "A toy."


@pytest.mark.parametrize("recommended", [None, 0.0, 0.5])
def test_a_recommended_truncation_is_told_but_not_applied(
    tmp_path: Path, recommended: float | None
) -> None:
    write_toy(tmp_path, "toy")
    path = tmp_path / "toy" / "card.json"
    card = json.loads(path.read_text())
    card["truncation"]["default"] = recommended
    path.write_text(json.dumps(card))
    with server_in_thread(tmp_path) as running, connect(running.grpc) as stubs:
        model = get(stubs, "toy")
        assert model.HasField("recommended_truncation") == (recommended is not None)
        assert model.recommended_truncation == (recommended or 0)
        unset, unlimited = (
            stubs.generate("toy", seed=1, **fields)[0]
            for fields in ({}, {"truncation": float(2**100)})
        )
    assert not unset.HasField("truncation")
    assert unset.data == unlimited.data


@pytest.mark.parametrize("mode", ["threshold", "scale"])
def test_a_recommended_truncation_is_told_as_a_threshold(tmp_path: Path, mode: str) -> None:
    write_toy(tmp_path, "toy")
    path = tmp_path / "toy" / "card.json"
    card = json.loads(path.read_text())
    card["truncation"] |= {"default": 0.5, "mode": mode}
    path.write_text(json.dumps(card))
    with server_in_thread(tmp_path) as running, connect(running.grpc) as stubs:
        threshold = get(stubs, "toy").recommended_truncation
    if mode == "threshold":
        assert threshold == 0.5
    else:  # the normal distribution within it has half the deviation of the one within 2
        of_threshold, of_two = (stats.truncnorm.std(-t, t) for t in (threshold, 2.0))
        assert of_threshold == pytest.approx(0.5 * of_two, rel=1e-3)


@pytest.mark.parametrize("reference", ["nobody", "plain@1.9", "plain@", "@1.9.0", ""])
def test_an_unknown_model_is_not_found(stubs: Stubs, reference: str) -> None:
    refused = refusal(lambda: get(stubs, reference))
    assert refused.code == "NOT_FOUND"
    assert refused.text.startswith(f"no model {reference!r}")
    known = "There is: colour@1.0.0, letters@1.0.0, plain@1.10.0, plain@1.9.0"
    assert refused.text.endswith(known)


def test_of_many_models_the_first_twenty_are_named(tmp_path: Path) -> None:
    for i in range(23):
        write_toy(tmp_path, f"toy-{i:02}", side=1)
    with server_in_thread(tmp_path, runners=1) as running, connect(running.grpc) as stubs:
        assert len(listed(stubs)) == 23
        refused = refusal(lambda: get(stubs, "xyz"))
    first = ", ".join(f"toy-{i:02}@1.0.0" for i in range(20))
    assert refused == Refusal("NOT_FOUND", f"no model 'xyz'. There is: {first} and 3 more")


@pytest.fixture
def half_broken(tmp_path: Path) -> Path:
    """A zoo of `good`, `altered` (its file) and `senseless` (its card)."""
    for name in ("altered", "good", "senseless"):
        write_toy(tmp_path, name)
    model = tmp_path / "altered" / "generator.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    (tmp_path / "senseless" / "card.json").write_text("{}")
    return tmp_path


def test_a_broken_model_says_why_and_leaves_the_others_alone(half_broken: Path) -> None:
    with server_in_thread(half_broken) as running, connect(running.grpc) as stubs:
        assert [model.name for model in listed(stubs)] == ["good"]
        assert len(stubs.generate("good")) == 1
        why = stubs.refusal("altered")
        assert why == refusal(lambda: get(stubs, "altered@1.0.0"))
        assert stubs.refusal("senseless").code in {"NOT_FOUND", "FAILED_PRECONDITION"}
    assert why.code == "FAILED_PRECONDITION"
    start = "altered@1.0.0 is in the zoo but could not be loaded: "
    assert why.text.startswith(start)
    assert why.text.endswith("the file was altered or only partly copied; fetch it again")


def test_a_broken_newest_version_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    write_toy(tmp_path, "toy", version="1.0.0", folder="toy@1.0.0")
    write_toy(tmp_path, "toy", version="2.0.0")
    (tmp_path / "toy" / "generator.onnx").write_bytes(b"")
    with server_in_thread(tmp_path) as running, connect(running.grpc) as stubs:
        assert stubs.refusal("toy").code == "FAILED_PRECONDITION"
        assert len(stubs.generate("toy@1.0.0")) == 1
