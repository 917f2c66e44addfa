"""What ModelInfer refuses: each mistake by its field, with what came and what is allowed."""

from __future__ import annotations

import pytest

from protos.inference.v2 import open_inference_pb2 as pb
from tests.server.oip.calls import (
    Oip,
    Tensor,
    classes,
    matrix,
    refused_as_invalid,
    request,
    seeds,
    truncation,
)
from tests.toys import Z_DIM

INFINITY, NAN = float("inf"), float("nan")
ALL = "class, class_weights, truncation, seed, z"
ZERO_Z = [[0.0] * Z_DIM]
NO_WEIGHT = "is not allowed; a finite number of at least 0"
NO_TRUNCATION = f"{NO_WEIGHT}, or unset"
NO_NAME = "is not a class of letters@1.0.0; nearest: 'B', 'C', 'A' (ModelConfig lists all 3)"


@pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
@pytest.mark.parametrize(
    ("tensors", "field", "reason"),
    [
        (
            [Tensor("labels", "INT64", [1], [0])],
            "inputs[0].name",
            f"'labels' is no input of letters@1.0.0; allowed: {ALL}",
        ),
        ([seeds(1), seeds(1)], "inputs[1].name", "seed is there already"),
        (
            [Tensor("class", "FP32", [1], [0])],
            "inputs[0].datatype",
            "'FP32' for class; allowed: INT64 or BYTES",
        ),
        (
            [seeds(1), Tensor("truncation", "INT64", [1], [1])],
            "inputs[1].datatype",
            "'INT64' for truncation; allowed: FP32",
        ),
        (
            [Tensor("seed", "UINT64", [], [1])],
            "inputs[0].shape",
            "[] for seed; allowed: [N] or [N, 1]",
        ),
        (
            [Tensor("seed", "UINT64", [1, 2], [1, 2])],
            "inputs[0].shape",
            "[1, 2] for seed; allowed: [N] or [N, 1]",
        ),
        (
            [Tensor("seed", "UINT64", [1, 1, 1], [1])],
            "inputs[0].shape",
            "[1, 1, 1] for seed; allowed: [N] or [N, 1]",
        ),
        (
            [Tensor("z", "FP32", [1, 7], [0] * 7)],
            "inputs[0].shape",
            "[1, 7] for z; allowed: [N, 8]",
        ),
        ([Tensor("z", "FP32", [8], [0] * 8)], "inputs[0].shape", "[8] for z; allowed: [N, 8]"),
        (
            [matrix("class_weights", [[1, 0]])],
            "inputs[0].shape",
            "[1, 2] for class_weights; allowed: [N, 3]",
        ),
        ([Tensor("seed", "UINT64", [0], [])], "inputs[0].shape", "0 rows; allowed: 1 to 4096"),
        ([Tensor("seed", "UINT64", [-1], [])], "inputs[0].shape", "-1 rows; allowed: 1 to 4096"),
        (
            [Tensor("seed", "UINT64", [2**63 - 1], [])],
            "inputs[0].shape",
            f"{2**63 - 1} rows; allowed: 1 to 4096",
        ),
        (
            [classes("A"), Tensor("seed", "UINT64", [-1], [])],
            "inputs[1].shape",
            "[-1] for seed; allowed: [N] or [N, 1]",
        ),
        (
            [classes("A", "B"), seeds(1, 2, 3)],
            "inputs[1].shape",
            "3 rows of seed, 2 of class; all must have the same number",
        ),
        ([classes(0, 3)], "class[1]", "3 is outside 0 to 2 of letters@1.0.0"),
        ([classes(-1)], "class[0]", "-1 is outside 0 to 2 of letters@1.0.0"),
        ([classes(-(2**63))], "class[0]", f"{-(2**63)} is outside 0 to 2 of letters@1.0.0"),
        ([classes("A", "b")], "class[1]", f"'b' {NO_NAME}"),
        ([Tensor("class", "BYTES", [1], [b"\xff"])], "class[0]", "its bytes are not UTF-8"),
        ([truncation(0.5, NAN)], "truncation[1]", f"nan {NO_TRUNCATION}"),
        ([truncation(INFINITY)], "truncation[0]", f"inf {NO_TRUNCATION}"),
        ([truncation(-0.5)], "truncation[0]", f"-0.5 {NO_TRUNCATION}"),
        (
            [matrix("class_weights", [[1, 0, 0], [0, -0.5, 1]])],
            "class_weights[1, 1]",
            f"-0.5 {NO_WEIGHT}",
        ),
        ([matrix("class_weights", [[0, 0, NAN]])], "class_weights[0, 2]", f"nan {NO_WEIGHT}"),
        ([matrix("class_weights", [[INFINITY, 0, 1]])], "class_weights[0, 0]", f"inf {NO_WEIGHT}"),
        (
            [matrix("class_weights", [[1, 0, 0], [0, 0, 0]])],
            "class_weights[1]",
            "the weights sum to 0; at least one must be positive",
        ),
        (
            [classes("A"), matrix("class_weights", [[1, 0, 0]])],
            "class_weights",
            "class is given as well; leave one out",
        ),
        (
            [classes("A"), matrix("z", [[0] * 7 + [NAN]])],
            "z[0, 7]",
            "nan is not allowed; a finite number",
        ),
        (
            [classes("A"), matrix("z", [[INFINITY] + [0] * 7])],
            "z[0, 0]",
            "inf is not allowed; a finite number",
        ),
        ([matrix("z", ZERO_Z)], "z", "letters@1.0.0 needs class or class_weights beside z"),
        (
            [classes("A"), matrix("z", ZERO_Z), seeds(1)],
            "seed",
            "z is given, so nothing is left to draw; leave one out",
        ),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(
    oip: Oip, tensors: list[Tensor], field: str, reason: str, raw: bool
) -> None:
    refused_as_invalid(oip, field, reason, request("letters", *tensors, raw=raw))


@pytest.mark.parametrize("datatype", ["", "int64", "INT32", "BOOL", "FP16", "x" * 1000])
def test_a_datatype_that_is_none_of_the_inputs_is_refused(oip: Oip, datatype: str) -> None:
    message = pb.ModelInferRequest(model_name="letters", raw_input_contents=[bytes(8)])
    message.inputs.add(name="class", datatype=datatype, shape=[1])
    refused = oip.refusal(message)
    assert (refused.code, refused.field) == ("INVALID_ARGUMENT", "inputs[0].datatype")
    assert refused.text.endswith(" for class; allowed: INT64 or BYTES")
    assert len(refused.text) < 200


@pytest.mark.parametrize("name", ["class", "class_weights"])
def test_a_model_without_classes_has_no_such_input(oip: Oip, name: str) -> None:
    reason = f"'{name}' is no input of plain@1.10.0; allowed: truncation, seed, z"
    message = request("plain", Tensor(name, "INT64", [1], [0]))
    refused_as_invalid(oip, "inputs[0].name", reason, message)
