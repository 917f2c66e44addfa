"""Run by test_tritonclient.py, in tritonclient's own environment: what that client sees, as JSON.

Argument: HOST:PORT of a server of the toy zoo that has made nothing of `letters` yet.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def tensor(name: str, datatype: str, array: Any) -> Any:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def pixels(answer: Any) -> dict[str, Any]:
    array = answer.as_numpy("images")
    return {"shape": array.shape, "dtype": str(array.dtype), "bytes": encoded(array.tobytes())}


def main(address: str) -> None:
    client = triton.InferenceServerClient(address)
    seen: dict[str, Any] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready("letters"),
        "nobody_ready": client.is_model_ready("nobody", "7"),
        "server": client.get_server_metadata(as_json=True),
        "metadata": client.get_model_metadata("letters", as_json=True),
        "config": client.get_model_config("letters", as_json=True),
        "index": client.get_model_repository_index(as_json=True),
    }
    seeds = tensor("seed", "UINT64", np.arange(5, 8, dtype=np.uint64))
    truncation = tensor("truncation", "FP32", np.full([3, 1], 0.5, np.float32))
    names = tensor("class", "BYTES", np.array([b"A", b"C", b"B"], np.object_))
    indices = tensor("class", "INT64", np.array([[0], [2], [1]]))
    by_name = client.infer("letters", [names, seeds, truncation], request_id="7")
    seen["id"] = by_name.get_response().id
    seen["by_name"] = pixels(by_name)
    seen["by_index"] = pixels(client.infer("letters", [seeds, indices, truncation], "1.0.0"))
    images = triton.InferRequestedOutput("images")
    asked = {"outputs": [images], "parameters": {"format": "png"}}
    files = client.infer("letters", [names, seeds, truncation], **asked).as_numpy("images")
    seen["png"] = [encoded(file) for file in files]
    weights = tensor("class_weights", "FP32", np.array([[1, 0, 3]], np.float32))
    z = tensor("z", "FP32", np.linspace(-2, 2, 8, dtype=np.float32)[None])
    seen["weights_and_z"] = pixels(client.infer("letters", [weights, z]))
    seen["in_asyncio"] = asyncio.run(in_asyncio(address, [names, seeds, truncation]))
    try:
        client.infer("letters", [tensor("class", "INT64", np.array([3]))])
    except InferenceServerException as error:
        seen["refused"] = [error.status(), error.message()]
    seen["statistics"] = client.get_inference_statistics("letters", as_json=True)
    seen["protocol"] = [
        encoded(file.DESCRIPTOR.serialized_pb) for file in (service_pb2, model_config_pb2)
    ]
    json.dump(seen, sys.stdout)


async def in_asyncio(address: str, inputs: list[Any]) -> dict[str, Any]:
    async with triton_aio.InferenceServerClient(address) as client:
        return pixels(await client.infer("letters", inputs))


if __name__ == "__main__":
    main(sys.argv[1])
