"""Between ModelInfer's messages and the domain: rows of tensors in, a tensor of images out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from protos.inference.v2 import open_inference_pb2 as pb
from server.encoding import ImageFormat
from server.oip.parameters import read_parameters
from server.oip.tensors import Elements, Input, check_tensor, read_tensor
from server.requests import Plan
from server.rows import Rows
from server.service import MAX_REPLY_BYTES, images_that_fit
from zoo.card import Card
from zoo.errors import InvalidRequest, shown


def inputs_of(card: Card) -> Mapping[str, Input]:
    """What a model takes, by name."""
    return _inputs(card.latent.dim, len(card.class_names))


@lru_cache
def _inputs(z_dim: int, n_classes: int) -> Mapping[str, Input]:
    specs = [
        Input("truncation", ("FP32",)),
        Input("seed", ("UINT64",)),
        Input("z", ("FP32",), z_dim, is_vector=True),
    ]
    if n_classes:
        weights = Input("class_weights", ("FP32",), n_classes, is_vector=True)
        specs = [Input("class", ("INT64", "BYTES")), weights, *specs]
    return {spec.name: spec for spec in specs}


def most_rows(card: Card, max_count: int) -> int:
    """How many rows a request may have."""
    return min(max_count, images_that_fit(card))


def to_rows(request: pb.ModelInferRequest, card: Card, max_count: int) -> Rows:
    """What a request asks for.

    Raises:
        InvalidRequest: names the field, what came and what is allowed.
    """
    tensors = _tensors(request, card, max_count)
    parameters = read_parameters(request)
    classes: Any = tensors.pop("class", None)
    if classes is not None:
        classes = _names(classes) if isinstance(classes, list) else classes.tolist()
    count = request.inputs[0].shape[0] if request.inputs else 1
    fields: dict[str, Any] = tensors  # named as the fields are, and of their types
    return Rows(
        count,
        classes,
        **fields,
        format=parameters.format,
        quality=parameters.quality,
        truncation_mode=parameters.truncation_mode,
        priority=parameters.priority,
    )


def _tensors(request: pb.ModelInferRequest, card: Card, max_count: int) -> dict[str, Elements]:
    specs = inputs_of(card)
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidRequest(
            "raw_input_contents",
            f"{len(raw):,} given for {len(request.inputs):,} inputs; one each, or none",
        )
    found: dict[str, Elements] = {}
    for i, tensor in enumerate(request.inputs):
        if tensor.name not in specs:
            raise InvalidRequest(
                f"inputs[{i}].name",
                f"{shown(tensor.name)} is no input of {card.reference}; "
                f"allowed: {', '.join(specs)}",
            )
        if tensor.name in found:
            raise InvalidRequest(f"inputs[{i}].name", f"{tensor.name} is there already")
        if i == 0 and tensor.shape:
            _check_count(tensor.shape[0], card, max_count)
        check_tensor(tensor, specs[tensor.name], i)
        if tensor.shape[0] != request.inputs[0].shape[0]:  # before there are elements of them
            raise InvalidRequest(
                f"inputs[{i}].shape",
                f"{tensor.shape[0]:,} rows of {tensor.name}, "
                f"{request.inputs[0].shape[0]:,} of {request.inputs[0].name}; all must have the "
                "same number",
            )
        found[tensor.name] = read_tensor(tensor, specs[tensor.name], i, raw[i] if raw else None)
    return found


def _check_count(rows: int, card: Card, max_count: int) -> None:
    if not 1 <= rows <= max_count:
        raise InvalidRequest("inputs[0].shape", f"{shown(rows)} rows; allowed: 1 to {max_count}")
    fits = images_that_fit(card)
    if rows > fits:
        raise _too_large("inputs[0].shape", rows, card, f"ask for at most {fits}")


def _too_large(field: str, rows: int, card: Card, fix: str) -> InvalidRequest:
    return InvalidRequest(
        field,
        f"{rows} images of {card.reference} may exceed a reply of {MAX_REPLY_BYTES:,} bytes; "
        f"{fix}, or use StreamGenerate of ganagerie.v1",
    )


def _names(elements: list[bytes]) -> list[str]:
    names = []
    for i, element in enumerate(elements):
        try:
            names.append(element.decode())
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"class[{i}]", "its bytes are not UTF-8") from error
    return names


def to_answer(
    request: pb.ModelInferRequest, plan: Plan, images: list[bytes], card: Card
) -> pb.ModelInferResponse:
    """The answer with these images, in order of their rows.

    Raises:
        InvalidRequest: it is too large: a lossy format of high quality, or a long id.
    """
    response = pb.ModelInferResponse(
        model_name=card.name, model_version=card.version, id=request.id
    )
    if isinstance(plan.seeds, range) and plan.z is None:  # drawn by the server
        response.parameters["seed"].uint64_param = plan.seeds[0]
    output = response.outputs.add(name="images")
    output.parameters["format"].string_param = plan.encoding.format.value
    if plan.encoding.format is ImageFormat.RAW:
        size = card.image
        output.datatype = "UINT8"
        output.shape[:] = [plan.count, size.height, size.width, size.channels]
        response.raw_output_contents.append(b"".join(images))
    else:
        output.datatype = "BYTES"
        output.shape[:] = [plan.count]
        parts = (part for data in images for part in (len(data).to_bytes(4, "little"), data))
        response.raw_output_contents.append(b"".join(parts))
    if response.ByteSize() > MAX_REPLY_BYTES:
        raise _too_large("inputs[0].shape", plan.count, card, "ask for fewer")
    return response
