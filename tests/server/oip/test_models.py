"""What is told of the server and its models: liveness, metadata, configuration, the index."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

from protos.inference.v2 import open_inference_pb2 as pb
from tests.server.calls import Refusal, refusal
from tests.server.oip.calls import Oip, connect_oip, request, seeds
from tests.serving import server_in_thread
from tests.toys import Z_DIM, write_toy
from zoo.card import Card

Metadata = pb.ModelMetadataRequest
Config = pb.ModelConfigRequest
THERE_IS = "There is: colour@1.0.0, letters@1.0.0, plain@1.10.0, plain@1.9.0"


def is_ready(oip: Oip, name: str, version: str = "") -> bool:
    return oip.stub.ModelReady(pb.ModelReadyRequest(name=name, version=version)).ready


def index(oip: Oip, **fields: Any) -> list[tuple[str, str, str, str]]:
    models = oip.stub.RepositoryIndex(pb.RepositoryIndexRequest(**fields)).models
    return [(m.name, m.version, m.state, m.reason) for m in models]


def test_a_server_that_answers_is_live_and_ready(oip: Oip) -> None:
    assert oip.stub.ServerLive(pb.ServerLiveRequest()).live
    assert oip.stub.ServerReady(pb.ServerReadyRequest()).ready


def test_the_server_names_itself_and_its_extensions(oip: Oip) -> None:
    about = oip.stub.ServerMetadata(pb.ServerMetadataRequest())
    assert about.name == "ganagerie"
    assert about.version == importlib.metadata.version("ganagerie")
    assert list(about.extensions) == ["model_configuration", "statistics"]


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [
        ("plain", "", True),
        ("plain", "1.9.0", True),
        ("plain@1.9.0", "", True),
        ("plain", "9.9.9", False),
        ("nobody", "", False),
        ("", "", False),
        ("", "1.9.0", False),
        ("x" * 100_000, "\x00", False),
    ],
)
def test_a_model_is_ready_or_not(oip: Oip, name: str, version: str, ready: bool) -> None:
    assert is_ready(oip, name, version) == ready


def tensors(found: object) -> list[tuple[str, str, list[int]]]:
    return [(t.name, t.datatype, list(t.shape)) for t in found]  # type: ignore[attr-defined]


def test_metadata_of_a_model_with_classes(oip: Oip) -> None:
    about = oip.stub.ModelMetadata(Metadata(name="colour"))
    assert (about.name, list(about.versions)) == ("colour", ["1.0.0"])
    assert about.platform == "onnxruntime_onnx"
    assert tensors(about.inputs) == [
        ("class", "INT64", [-1, 1]),
        ("class_weights", "FP32", [-1, 2]),
        ("truncation", "FP32", [-1, 1]),
        ("seed", "UINT64", [-1, 1]),
        ("z", "FP32", [-1, Z_DIM]),
    ]
    assert tensors(about.outputs) == [("images", "UINT8", [-1, 12, 12, 3])]


def test_metadata_of_a_model_without_classes(oip: Oip) -> None:
    about = oip.stub.ModelMetadata(Metadata(name="plain"))
    assert [name for name, _, _ in tensors(about.inputs)] == ["truncation", "seed", "z"]
    assert tensors(about.outputs) == [("images", "UINT8", [-1, 12, 12, 1])]


def test_versions_are_all_or_the_one_that_was_asked_for(oip: Oip) -> None:
    def versions(name: str, version: str = "") -> list[str]:
        return list(oip.stub.ModelMetadata(Metadata(name=name, version=version)).versions)

    assert versions("plain") == ["1.10.0", "1.9.0"]
    assert versions("plain", "1.9.0") == versions("plain@1.9.0") == ["1.9.0"]


def test_configuration(oip: Oip, toy_zoo: Path) -> None:
    config = oip.stub.ModelConfig(Config(name="letters")).config
    assert (config.name, config.platform) == ("letters", "onnxruntime_onnx")
    assert (config.backend, config.default_model_filename) == ("onnxruntime", "generator.onnx")
    dims = [(i.name, pb.DataType.Name(i.data_type), list(i.dims)) for i in config.input]
    assert dims == [
        ("class", "TYPE_INT64", [1]),
        ("class_weights", "TYPE_FP32", [3]),
        ("truncation", "TYPE_FP32", [1]),
        ("seed", "TYPE_UINT64", [1]),
        ("z", "TYPE_FP32", [Z_DIM]),
    ]
    assert all(i.optional for i in config.input)
    (output,) = config.output
    assert (output.name, output.data_type) == ("images", pb.TYPE_UINT8)
    assert list(output.dims) == [12, 12, 1]
    (group,) = config.instance_group
    assert group.kind == pb.ModelInstanceGroup.KIND_CPU
    assert group.count >= 1
    assert not config.model_transaction_policy.decoupled
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    card = Card.model_validate_json((toy_zoo / "letters" / "card.json").read_text())
    assert json.loads(parameters.pop("class_names")) == ["A", "B", "C"]
    assert parameters == {
        "version": "1.0.0",
        "architecture": "toy",
        "sha256": card.artifact.sha256,
    }
    plain = oip.stub.ModelConfig(Config(name="plain", version="1.9.0")).config
    assert plain.parameters["version"].string_value == "1.9.0"
    assert "class_names" not in plain.parameters


@pytest.mark.parametrize(("max_count", "rows"), [(50, 50), (4096, 63)])
def test_configuration_tells_the_servers_limits(noise_zoo: Path, max_count: int, rows: int) -> None:
    limits = {"max_count": max_count, "max_batch": 5, "runners": 3}
    with server_in_thread(noise_zoo, **limits) as running, connect_oip(running.grpc) as oip:
        config = oip.stub.ModelConfig(Config(name="noise")).config
        assert config.max_batch_size == rows
        assert len(oip.infer("noise", seeds(*range(rows)))) == rows
        assert oip.refusal(request("noise", seeds(*range(rows + 1)))).code == "INVALID_ARGUMENT"
    assert list(config.dynamic_batching.preferred_batch_size) == [5]
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    assert config.instance_group[0].count == 3


def test_an_unknown_model_is_not_found(oip: Oip) -> None:
    unknown = Refusal("NOT_FOUND", f"no model 'nobody@7'. {THERE_IS}")
    assert refusal(lambda: oip.stub.ModelMetadata(Metadata(name="nobody", version="7"))) == unknown
    assert refusal(lambda: oip.stub.ModelConfig(Config(name="nobody", version="7"))) == unknown


def test_the_index_has_every_model(oip: Oip) -> None:
    everything = [
        ("colour", "1.0.0", "READY", ""),
        ("letters", "1.0.0", "READY", ""),
        ("plain", "1.10.0", "READY", ""),
        ("plain", "1.9.0", "READY", ""),
    ]
    assert index(oip) == index(oip, ready=True) == everything


def test_there_is_one_repository(oip: Oip) -> None:
    asked = pb.RepositoryIndexRequest(repository_name="other")
    refused = refusal(lambda: oip.stub.RepositoryIndex(asked))
    assert refused[0] == "INVALID_ARGUMENT"
    assert refused[2:4] == (
        "repository_name",
        "'other' is unknown; there is one zoo, leave it empty",
    )


def test_a_model_that_failed_is_listed_with_its_reason(tmp_path: Path) -> None:
    for name in ("altered", "fine", "senseless"):
        write_toy(tmp_path, name)
    (tmp_path / "altered" / "generator.onnx").write_bytes(b"")
    (tmp_path / "senseless" / "card.json").write_text("{")
    with server_in_thread(tmp_path) as running, connect_oip(running.grpc) as oip:
        altered, fine, senseless = index(oip)
        assert index(oip, ready=True) == [fine] == [("fine", "1.0.0", "READY", "")]
        assert altered[:3] == ("altered", "1.0.0", "UNAVAILABLE")
        assert altered[3].startswith("generator.onnx: sha256 is ")
        assert senseless[:3] == ("senseless", "", "UNAVAILABLE")
        assert str(tmp_path) not in altered[3] + senseless[3]
        assert [is_ready(oip, name) for name in ("altered", "fine", "senseless")] == [
            False,
            True,
            False,
        ]
        assert oip.refusal(request("altered", seeds(1))).code == "FAILED_PRECONDITION"
