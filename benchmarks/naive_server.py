"""A server as one would write it in an afternoon: `python -m benchmarks.naive_server ONNX`.

`ganagerie.v1`'s Generate on grpc.aio: each call is one `run` of a session with onnxruntime's own
settings, in a thread, and Pillow's PNG. Nothing is batched, limited or checked. Prints its address.
"""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.ceiling import DEVICE, feeds_of
from protos.v1 import ganagerie_pb2 as pb
from zoo.runtime import providers_for


class Naive:
    """A session, and what it answers."""

    def __init__(self, path: Path) -> None:
        self._session = onnxruntime.InferenceSession(path, providers=providers_for(DEVICE))
        self._width = {node.name: node.shape for node in self._session.get_inputs()}["z"][1]

    async def answer(self, request: pb.GenerateRequest, _: Any) -> pb.GenerateResponse:
        """As many images as asked for."""
        return await asyncio.to_thread(self._generate, request.count, request.seed)

    def _generate(self, count: int, seed: int) -> pb.GenerateResponse:
        feeds = feeds_of(self._session, count)
        z = np.random.default_rng(seed).standard_normal((count, self._width))
        feeds["z"] = z.astype(np.float32)
        pixels = self._session.run(None, feeds)[0]
        return pb.GenerateResponse(
            images=[pb.GeneratedImage(index=i, data=_png(one)) for i, one in enumerate(pixels)]
        )


def _png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


async def main() -> None:
    """Serves until it is killed."""
    server = grpc.aio.server()
    generate = grpc.unary_unary_rpc_method_handler(
        Naive(Path(sys.argv[1])).answer,
        pb.GenerateRequest.FromString,
        pb.GenerateResponse.SerializeToString,
    )
    service = "ganagerie.v1.ImageGeneration"
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {"Generate": generate})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
