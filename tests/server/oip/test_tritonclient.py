"""`tritonclient[grpc]` drives the server, in an environment of its own.

It needs protobuf below 7, and its stubs and ours cannot be in one process: both define `inference`.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2

from protos.inference.v2 import open_inference_pb2
from protos.v1 import ganagerie_pb2 as pb
from tests.conftest import REPOSITORY
from tests.server.calls import connect
from tests.server.oip.calls import Oip, matrix
from tests.serving import server_in_thread
from zoo.catalog import BUNDLED

SCRIPT = Path(__file__).with_name("with_tritonclient.py")
PACKAGES = ["tritonclient[grpc]", "protobuf<7"]
INSTALL_S = 40  # at most; without a registry the tests are skipped, not held up
FileDescriptor = descriptor_pb2.FileDescriptorProto


@pytest.fixture(scope="module")
def triton_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with tritonclient."""
    folder = tmp_path_factory.mktemp("tritonclient")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    unreachable = ["--retries", "0", "--timeout", "5", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*pip, *unreachable, "--no-compile", "--only-binary", ":all:", *PACKAGES],
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"tritonclient was not installed within {INSTALL_S} s")
    if done.returncode != 0:
        pytest.skip(f"tritonclient cannot be installed: {done.stderr.strip()[-200:]}")
    return python


def run(python: Path, *arguments: str | Path) -> str:
    done = subprocess.run(
        [python, *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def toys(triton_python: Path, toy_zoo: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What tritonclient saw, and what the ordinary client gets for the same."""
    with server_in_thread(toy_zoo) as running:
        seen = json.loads(run(triton_python, SCRIPT, running.grpc))
        fields: dict[str, Any] = {"count": 3, "seed": 5, "truncation": 0.5}
        fields["conditions"] = [pb.Condition(class_name=name) for name in "ACB"]
        with connect(running.grpc) as stubs:
            raw = stubs.generate("letters", format=pb.IMAGE_FORMAT_RAW, **fields)
            coded = stubs.generate("letters", **fields)
            mixed = Oip(stubs).infer(
                "letters",
                matrix("class_weights", [[1, 0, 3]]),
                matrix("z", np.linspace(-2, 2, 8, dtype=np.float32)[None]),
            )
    return seen, {
        "raw": b"".join(image.data for image in raw),
        "png": [image.data for image in coded],
        "weights_and_z": mixed.tobytes(),
    }


Seen = tuple[dict[str, Any], dict[str, Any]]


def test_the_server_and_its_models_are_there(toys: Seen) -> None:
    seen, _ = toys
    assert seen["live"]
    assert seen["ready"]
    assert seen["model_ready"]
    assert not seen["nobody_ready"]
    assert seen["server"]["name"] == "ganagerie"
    assert "statistics" in seen["server"]["extensions"]
    listed = [(model["name"], model["state"]) for model in seen["index"]["models"]]
    assert listed == [(name, "READY") for name in ("colour", "letters", "plain", "plain")]


def test_metadata_and_configuration_agree(toys: Seen) -> None:
    seen, _ = toys
    metadata, config = seen["metadata"], seen["config"]["config"]
    inputs = {i["name"]: i for i in config["input"]}
    assert [i["name"] for i in metadata["inputs"]] == [*inputs]
    for i in metadata["inputs"]:
        assert i["shape"] == ["-1", *inputs[i["name"]]["dims"]]
        assert inputs[i["name"]]["data_type"] == f"TYPE_{i['datatype']}"
    (images,), (output,) = metadata["outputs"], config["output"]
    assert (images["name"], images["datatype"]) == ("images", "UINT8")
    assert images["shape"] == ["-1", *output["dims"]]


def test_images_are_the_ordinary_clients_bytes(toys: Seen) -> None:
    seen, ordinary = toys
    for name in ("by_name", "by_index", "in_asyncio"):
        assert seen[name]["shape"] == [3, 12, 12, 1]
        assert seen[name]["dtype"] == "uint8"
        assert base64.b64decode(seen[name]["bytes"]) == ordinary["raw"]
    assert seen["id"] == "7"
    assert [base64.b64decode(file) for file in seen["png"]] == ordinary["png"]
    assert base64.b64decode(seen["weights_and_z"]["bytes"]) == ordinary["weights_and_z"]


def test_a_refusal_says_what_is_wrong(toys: Seen) -> None:
    seen, _ = toys
    assert seen["refused"] == [
        "StatusCode.INVALID_ARGUMENT",
        "class[0]: 3 is outside 0 to 2 of letters@1.0.0",
    ]


def test_statistics_count_what_was_made(toys: Seen) -> None:
    seen, _ = toys
    (found,) = seen["statistics"]["model_stats"]
    assert (found["name"], found["version"]) == ("letters", "1.0.0")
    assert int(found["inference_count"]) == 4 * 3 + 1
    assert int(found["inference_stats"]["success"]["count"]) == 5
    assert int(found["inference_stats"]["success"]["ns"]) > 0
    assert found["inference_stats"]["fail"] == {}


def symbols(file: Any) -> dict[str, Any]:
    """Fields, values and calls by their full name, each with all that goes over the wire."""
    found: dict[str, Any] = {}

    def add(messages: Any, prefix: str) -> None:
        for message in messages:
            name = f"{prefix}{message.name}."
            for field in message.field:
                kind = field.number, field.label, field.type, field.type_name
                found[name + field.name] = kind
            enums(message.enum_type, name)
            add(message.nested_type, name)

    def enums(listed: Any, prefix: str) -> None:
        for enum in listed:
            for value in enum.value:
                found[f"{prefix}{enum.name}.{value.name}"] = value.number

    add(file.message_type, f"{file.package}.")
    enums(file.enum_type, f"{file.package}.")
    for service in file.service:
        for call in service.method:
            kind = call.input_type, call.output_type, call.server_streaming
            found[f"{file.package}.{service.name}.{call.name}"] = kind
    return found


def test_our_protocol_is_a_part_of_tritons(toys: Seen) -> None:
    seen, _ = toys
    theirs: dict[str, Any] = {}
    for file in seen["protocol"]:
        theirs |= symbols(FileDescriptor.FromString(base64.b64decode(file)))
    ours = symbols(FileDescriptor.FromString(open_inference_pb2.DESCRIPTOR.serialized_pb))
    assert len(ours) > 120
    assert {name: kind for name, kind in ours.items() if theirs.get(name) != kind} == {}


def test_our_stubs_load_under_its_protobuf(triton_python: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import google.protobuf as protobuf; "
        "from protos.inference.v2 import open_inference_pb2_grpc as oip; "
        "print(protobuf.__version__, oip.GRPCInferenceServiceStub.__name__)"
    )
    version, name = run(triton_python, "-c", code, REPOSITORY).split()
    assert (version.split(".")[0], name) == ("6", "GRPCInferenceServiceStub")


def test_the_example_of_the_readme_runs(triton_python: Path) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    (example,) = (block for block in blocks if "tritonclient" in block)
    with server_in_thread(BUNDLED) as running:
        code = example.replace("127.0.0.1:50051", running.grpc)
        printed = run(triton_python, "-c", f"{code}\nprint(letters.dtype, letters.shape)")
        with connect(running.grpc) as stubs:
            about = stubs.zoo.GetModel(pb.GetModelRequest(model="biggan-emnist"))
    assert printed == "uint8 (2, 28, 28, 1)\n"
    assert [about.class_names[index] for index in (10, 27)] == ["A", "R"]
