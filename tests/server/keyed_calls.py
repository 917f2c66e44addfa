"""Calls that carry an API key, and a file of keys."""

from __future__ import annotations

from typing import Any

import grpc

from protos.v1 import ganagerie_pb2 as pb
from tests.server.calls import TIMEOUT_S, Stubs

KEY, SECOND, OTHER = "correct-horse-battery", "correct-horse-staple!", "another-horse-battery"
KEYS = f"# who may call\n\n alice {KEY}\nalice\t{SECOND}  \nbob {OTHER}\n"


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


def call(stubs: Stubs, metadata: Any, method: str = "ListModels") -> Any:
    requests: dict[str, tuple[Any, Any]] = {
        "Generate": (stubs.images.Generate, pb.GenerateRequest(model="plain")),
        "StreamGenerate": (stubs.images.StreamGenerate, pb.GenerateRequest(model="plain")),
        "ListModels": (stubs.zoo.ListModels, pb.ListModelsRequest()),
        "GetModel": (stubs.zoo.GetModel, pb.GetModelRequest(model="plain")),
    }
    ask, request = requests[method]
    answer = ask(request, timeout=TIMEOUT_S, metadata=metadata)
    return list(answer) if method == "StreamGenerate" else answer


METHODS = ["Generate", "StreamGenerate", "ListModels", "GetModel"]


def code(stubs: Stubs, key: str) -> str:
    try:
        call(stubs, bearer(key))
    except grpc.RpcError as error:
        return error.code().name
    return "OK"
