"""What the asyncio clients share: where to call, how each method is asked, what they note."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import numpy as np

from benchmarks.soak.report import Latencies, Report
from protos.inference.v2 import open_inference_pb2 as oip_pb
from protos.inference.v2 import open_inference_pb2_grpc as oip_grpc
from protos.v1 import ganagerie_pb2 as pb
from protos.v1 import ganagerie_pb2_grpc as pb_grpc

METHODS: Final = ("Generate", "StreamGenerate", "ModelInfer")
HUNG_S: Final = 60.0  # no call of a well-meaning client takes longer
ENDS_WITHIN_S: Final = 20.0  # how long a call may take to end once its client gave it up
LOCAL: Final = {"CANCELLED", "DEADLINE_EXCEEDED"}  # codes that a client gives itself
OPTIONS: Final = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))


@dataclass(frozen=True)
class Spec:
    """What a client process is told.

    Attributes:
        grpc: `HOST:PORT`.
        http: likewise.
        key: API key.
        reference: file of digests.
        seconds: how long to call.
        seed: of all that is random.
    """

    grpc: str
    http: str
    key: str
    reference: Path
    seconds: float
    seed: int

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Of every call."""
        return (("authorization", f"Bearer {self.key}"),)


class Client:
    """One connection and what is seen on it, until the time is over."""

    def __init__(self, spec: Spec, channel: Any) -> None:
        self.spec = spec
        self.report = Report()
        self.random = random.Random(spec.seed)  # noqa: S311  no secret
        self.images = pb_grpc.ImageGenerationStub(channel)
        self.oip = oip_grpc.GRPCInferenceServiceStub(channel)
        self._end_s = time.monotonic() + spec.seconds
        self.latencies = Latencies(time.monotonic(), spec.seconds)

    @property
    def goes_on(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self._end_s

    def start(
        self, method: str, model: str, count: int, seed: int, kind: str, timeout_s: float
    ) -> Any:
        """A call of any of `METHODS`; `kind` is png, jpeg, webp or raw."""
        how: dict[str, Any] = {"timeout": timeout_s, "metadata": self.spec.metadata}
        if method == "ModelInfer":
            message = oip_pb.ModelInferRequest(model_name=model)
            message.inputs.add(name="seed", datatype="UINT64", shape=[count])
            seeds = np.arange(seed, seed + count, dtype="<u8")
            message.raw_input_contents.append(seeds.tobytes())
            message.parameters["format"].string_param = kind
            return self.oip.ModelInfer(message, **how)
        request = pb.GenerateRequest(
            model=model, count=count, seed=seed, format=f"IMAGE_FORMAT_{kind.upper()}"
        )
        return getattr(self.images, method)(request, **how)

    async def images_of(self, method: str, call: Any, count: int) -> list[bytes]:
        """Waits for the images, in order of index."""
        if method == "Generate":
            return [image.data for image in (await call).images]
        if method == "StreamGenerate":
            images = [image async for image in call]
            return [image.data for image in sorted(images, key=lambda image: image.index)]
        answer = await call
        (content,) = answer.raw_output_contents
        if answer.outputs[0].datatype == "BYTES":
            return _elements(content)
        size = len(content) // count
        return [content[i : i + size] for i in range(0, len(content), size)]

    async def end(self, method: str, call: Any, allowed: frozenset[str], what: str) -> str:
        """Notes how a call ended, or ends soon; its code."""
        try:
            async with asyncio.timeout(ENDS_WITHIN_S):
                code: str = (await call.code()).name
        except TimeoutError:
            self.report.complain(f"{what}: {method} did not end within {ENDS_WITHIN_S:.0f} s")
            call.cancel()
            code = "CANCELLED"
        if code in LOCAL:
            self.report.given_up[method] += 1
        else:
            self.report.answered[f"{method} {code}"] += 1
        if code not in allowed:
            details = ""
            with suppress(asyncio.CancelledError):
                details = await call.details()
            self.report.complain(f"{what}: {method} ended with {code} {details}")
        return code


def _elements(content: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "little")
        found.append(content[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def run(spec: Spec, loops: list[Callable[[Client], Any]]) -> Report:
    """Runs several loops on one connection until the time is over."""

    async def main() -> Report:
        async with grpc.aio.insecure_channel(spec.grpc, options=OPTIONS) as channel:
            client = Client(spec, channel)
            async with asyncio.TaskGroup() as group:
                for loop in loops:
                    group.create_task(loop(client))
            client.report.windows = client.latencies.windows()
            return client.report

    return asyncio.run(main())
