"""Contents that do not fit their tensor, raw and typed."""

from __future__ import annotations

import pytest

from protos.inference.v2 import open_inference_pb2 as pb
from tests.server.oip.calls import Oip, classes, refused_as_invalid, request, seeds

CONTENTS = pb.InferTensorContents


@pytest.mark.parametrize("length", [0, 1, 15, 17, 24])
def test_raw_contents_of_another_size_are_refused(oip: Oip, length: int) -> None:
    message = request("letters", seeds(1, 2), raw=True)
    message.raw_input_contents[0] = bytes(length)
    reason = f"{length} bytes for seed; UINT64 [2] takes 16"
    refused_as_invalid(oip, "raw_input_contents[0]", reason, message)


BEYOND = "each is led by its length as four bytes, little-endian"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 elements of class and 0 bytes more; there must be 2 elements and nothing more"),
        (
            b"\x01\0\0\0A",
            "1 elements of class and 0 bytes more; there must be 2 elements and nothing more",
        ),
        (
            b"\x01\0\0\0A\x01\0\0\0B\x01\0\0\0C",
            "2 elements of class and 5 bytes more; there must be 2 elements and nothing more",
        ),
        (b"\x01\0\0\0A\x01\0\0", f"element 1 of class goes beyond the 8 bytes; {BEYOND}"),
        (b"\x01\0\0\0A\x02\0\0\0B", f"element 1 of class goes beyond the 10 bytes; {BEYOND}"),
        (b"\xff\xff\xff\xffAB", f"element 0 of class goes beyond the 6 bytes; {BEYOND}"),
    ],
)
def test_raw_strings_that_break_off_or_go_on_are_refused(
    oip: Oip, content: bytes, reason: str
) -> None:
    message = request("letters", classes("A", "B"), raw=True)
    message.raw_input_contents[0] = content
    refused_as_invalid(oip, "raw_input_contents[0]", reason, message)


def test_raw_contents_are_one_each(oip: Oip) -> None:
    for more, given in ((1, 3), (-1, 1)):
        message = request("letters", classes("A"), seeds(1), raw=True)
        if more > 0:
            message.raw_input_contents.append(b"")
        else:
            del message.raw_input_contents[0]
        reason = f"{given} given for 2 inputs; one each, or none"
        refused_as_invalid(oip, "raw_input_contents", reason, message)


def test_raw_and_typed_contents_exclude_one_another(oip: Oip) -> None:
    message = request("letters", seeds(1), raw=True)
    message.inputs[0].contents.uint64_contents.append(1)
    reason = "raw_input_contents is there as well; leave one out"
    refused_as_invalid(oip, "inputs[0].contents", reason, message)


@pytest.mark.parametrize(
    ("contents", "field", "reason"),
    [
        (CONTENTS(), "uint64_contents", "0 elements for seed; [2] takes 2"),
        (CONTENTS(uint64_contents=[1]), "uint64_contents", "1 elements for seed; [2] takes 2"),
        (CONTENTS(uint64_contents=[1] * 3), "uint64_contents", "3 elements for seed; [2] takes 2"),
        (
            CONTENTS(int64_contents=[1, 2]),
            "int64_contents",
            "elements of UINT64 belong into uint64_contents",
        ),
        (
            CONTENTS(uint64_contents=[1, 2], fp32_contents=[0]),
            "fp32_contents",
            "elements of UINT64 belong into uint64_contents",
        ),
    ],
)
def test_typed_contents_that_do_not_fit_are_refused(
    oip: Oip, contents: pb.InferTensorContents, field: str, reason: str
) -> None:
    message = pb.ModelInferRequest(model_name="letters")
    message.inputs.add(name="seed", datatype="UINT64", shape=[2], contents=contents)
    refused_as_invalid(oip, f"inputs[0].contents.{field}", reason, message)
