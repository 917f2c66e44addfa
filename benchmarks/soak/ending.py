"""The end of a soak: the same bytes as ever, and a drain that loses nothing."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import Any, Final

import grpc

from benchmarks.soak.client import HUNG_S, OPTIONS, Spec
from benchmarks.soak.reference import MODELS, SEEDS, digest, read_reference
from protos.v1 import ganagerie_pb2 as pb
from protos.v1 import ganagerie_pb2_grpc as pb_grpc
from tests.serving import Running

_IN_FLIGHT: Final = 1500  # images of the stream that is being read when SIGTERM comes
_ENDS_WITHIN_S: Final = 40.0  # the grace, and then some


def the_same_bytes(spec: Spec) -> list[str]:
    """Of every seed of the reference."""
    reference = read_reference(spec.reference)
    wrong = []
    with grpc.insecure_channel(spec.grpc, options=OPTIONS) as channel:
        stub = pb_grpc.ImageGenerationStub(channel)
        for model in MODELS:
            request = pb.GenerateRequest(model=model, count=SEEDS, seed=0)
            answer = stub.Generate(request, timeout=HUNG_S, metadata=spec.metadata)
            if [digest(image.data) for image in answer.images] != reference[model]["png"]:
                wrong.append(f"{model} has other bytes after the load")
    return wrong


def drains(server: Running, spec: Spec) -> list[str]:
    """After SIGTERM a running stream goes on to its end, and the process ends with 0."""
    assert server.process is not None
    with grpc.insecure_channel(spec.grpc, options=OPTIONS) as channel:
        stub = pb_grpc.ImageGenerationStub(channel)
        request = pb.GenerateRequest(model=MODELS[0], count=_IN_FLIGHT, seed=0)
        running: Any = stub.StreamGenerate(request, timeout=HUNG_S, metadata=spec.metadata)
        indices = {next(running).index}
        server.process.send_signal(signal.SIGTERM)
        started_s = time.monotonic()
        try:
            indices |= {image.index for image in running}
        except grpc.RpcError as error:
            return [f"a stream ended {error.code().name} after SIGTERM: {error.details()}"]
    if indices != set(range(_IN_FLIGHT)):
        return [f"a stream had {len(indices)} of {_IN_FLIGHT} images after SIGTERM"]
    try:
        code = server.process.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        return [f"still running {time.monotonic() - started_s:.0f} s after SIGTERM"]
    return [f"the server ended with code {code}"] if code else []
