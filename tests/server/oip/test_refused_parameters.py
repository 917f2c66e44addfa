"""Parameters, outputs, models and sizes that cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protos.inference.v2 import open_inference_pb2 as pb
from tests.server.calls import Refusal
from tests.server.oip.calls import (
    Oip,
    array,
    connect_oip,
    refused_as_invalid,
    request,
    seeds,
    truncation,
)
from tests.serving import server_in_thread

INPUT_PARAMETERS = {"shared_memory_region": pb.InferParameter(string_param="x")}


def test_inputs_take_no_parameters(oip: Oip) -> None:
    tensor = seeds(1)
    tensor.fields["parameters"] = INPUT_PARAMETERS
    reason = "'shared_memory_region': inputs take none"
    refused_as_invalid(oip, "inputs[0].parameters", reason, request("letters", tensor))


KNOWN = "format, quality"
FORMATS = "png, jpeg, webp, raw"


@pytest.mark.parametrize(
    ("parameters", "output", "field", "reason"),
    [
        (
            {"sequence_id": 1},
            None,
            "parameters",
            f"'sequence_id' is unknown; allowed: {KNOWN}, truncation_mode, priority",
        ),
        (
            {},
            {"classification": 3},
            "outputs[0].parameters",
            f"'classification' is unknown; allowed: {KNOWN}",
        ),
        (
            {},
            {"truncation_mode": "scale"},
            "outputs[0].parameters",
            f"'truncation_mode' is unknown; allowed: {KNOWN}",
        ),
        ({"format": 1}, None, "parameters['format']", "int64_param; allowed: string_param"),
        (
            {},
            {"format": pb.InferParameter()},
            "outputs[0].parameters['format']",
            "no value; allowed: string_param",
        ),
        (
            {"quality": "90"},
            None,
            "parameters['quality']",
            "string_param; allowed: int64_param or uint64_param",
        ),
        (
            {"quality": True},
            None,
            "parameters['quality']",
            "bool_param; allowed: int64_param or uint64_param",
        ),
        ({"format": "gif"}, None, "format", f"'gif' is unknown; allowed: {FORMATS}"),
        ({"format": ""}, None, "format", f"'' is unknown; allowed: {FORMATS}"),
        ({}, {"format": "PNG"}, "format", f"'PNG' is unknown; allowed: {FORMATS}"),
        (
            {"format": "png"},
            {"format": "png"},
            "outputs[0].parameters['format']",
            "the request has it too; leave one out",
        ),
        (
            {"truncation_mode": "half"},
            None,
            "truncation_mode",
            "'half' is unknown; allowed: threshold, scale",
        ),
        (
            {"truncation_mode": "scale"},
            None,
            "truncation_mode",
            "SCALE needs a truncation beside it",
        ),
        ({"priority": "low"}, None, "priority", "'low' is unknown; allowed: normal, bulk"),
        ({"priority": 1}, None, "parameters['priority']", "int64_param; allowed: string_param"),
        ({"quality": 90}, None, "quality", "90: RAW has none; leave it unset"),
        ({"format": "png"}, {"quality": 9}, "quality", "9: PNG has none; leave it unset"),
        ({"format": "jpeg", "quality": 0}, None, "quality", "0 is outside 1 to 100"),
        ({"format": "webp", "quality": 101}, None, "quality", "101 is outside 1 to 100"),
        (
            {"format": "webp", "quality": -(2**63)},
            None,
            "quality",
            f"{-(2**63)} is outside 1 to 100",
        ),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(
    oip: Oip, parameters: dict[str, Any], output: Any, field: str, reason: str
) -> None:
    message = request("letters", seeds(1), parameters=parameters, output=output)
    refused_as_invalid(oip, field, reason, message)


def test_a_scale_has_its_limit(oip: Oip) -> None:
    scale = {"truncation_mode": "scale"}
    assert len(oip.infer("plain", truncation(0, 1), parameters=scale)) == 2
    above = float(np.nextafter(np.float32(1), np.float32(2)))
    message = request("plain", truncation(1, above), parameters=scale)
    reason = f"{above} is outside 0 to 1 for truncation mode SCALE"
    refused_as_invalid(oip, "truncation[1]", reason, message)


def test_the_output_is_images_and_nothing_else(oip: Oip) -> None:
    message = request("letters", seeds(1))
    message.outputs.add(name="pixels")
    reason = "'pixels' is unknown; allowed: images"
    refused_as_invalid(oip, "outputs[0].name", reason, message)
    message.outputs[0].name = "images"
    assert len(array(oip.answer(message))) == 1
    message.outputs.add(name="images")
    refused_as_invalid(oip, "outputs[1].name", "images is there already", message)


def test_an_unknown_model_or_version_is_not_found(oip: Oip) -> None:
    there_is = "There is: colour@1.0.0, letters@1.0.0, plain@1.10.0, plain@1.9.0"
    for name, version, start in (
        ("leters", "", "no model 'leters'; did you mean 'letters'? "),
        ("plain", "9.9.9", "no model 'plain@9.9.9'; did you mean 'plain@1.9.0'? "),
        ("plain", "1", "no model 'plain@1'; did you mean 'plain'? "),
        ("", "", "no model ''. "),
    ):
        refused = oip.refusal(request(name, seeds(1), model_version=version))
        assert refused == Refusal("NOT_FOUND", start + there_is)


@pytest.fixture(scope="module")
def noise(noise_zoo: Path) -> Iterator[Oip]:
    with server_in_thread(noise_zoo, max_count=70) as running, connect_oip(running.grpc) as oip:
        yield oip


def test_every_limit_on_rows_at_both_sides(oip: Oip, noise: Oip) -> None:
    assert len(oip.infer("plain", seeds(*range(3591)), raw=True)) == 3591
    refused = oip.refusal(request("plain", seeds(*range(3592)), raw=True))
    assert refused.reason == (
        "3592 images of plain@1.10.0 may exceed a reply of 4,194,304 bytes; "
        "ask for at most 3591, or use StreamGenerate of ganagerie.v1"
    )
    assert oip.refusal(request("plain", seeds(*range(4097)), raw=True)).reason == (
        "4097 rows; allowed: 1 to 4096"
    )
    assert len(noise.infer("noise", seeds(*range(63)))) == 63
    assert noise.refusal(request("noise", seeds(*range(64)))).reason == (
        "64 images of noise@1.0.0 may exceed a reply of 4,194,304 bytes; "
        "ask for at most 63, or use StreamGenerate of ganagerie.v1"
    )
    assert noise.refusal(request("noise", seeds(*range(71)))).reason == (
        "71 rows; allowed: 1 to 70"
    )


def test_an_id_that_makes_the_answer_too_large_is_refused(noise: Oip) -> None:
    refused = noise.refusal(request("noise", seeds(*range(63)), id="x" * 100_000))
    assert (refused.code, refused.field) == ("INVALID_ARGUMENT", "inputs[0].shape")
    assert refused.reason == (
        "63 images of noise@1.0.0 may exceed a reply of 4,194,304 bytes; "
        "ask for fewer, or use StreamGenerate of ganagerie.v1"
    )
