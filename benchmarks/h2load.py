"""A closed loop by h2load, of nghttp2, in place of `benchmarks.load`; prints the same JSON object.

A call of one image costs a client on grpc.aio 120 to 190 us of CPU, h2load 16 to 23. Where server
and load generator share the cores, that decides what is left for the server. Every call is the same
request, and the bytes of all answers are counted: they must be as many as if each were right.

`python -m benchmarks.h2load TARGET MODEL --callers 32 --images 16`; on Debian h2load is in the
package nghttp2-client.
"""

from __future__ import annotations

import argparse
import json
import re
import struct
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import numpy as np

from benchmarks.load import closed_loop, quantiles
from protos.v1 import ganagerie_pb2 as pb
from protos.v1 import ganagerie_pb2_grpc as pb_grpc

_PATH = "/ganagerie.v1.ImageGeneration/Generate"
_WINDOW_BITS = 24  # of a stream and of the connection: answers are never held up
_LEAST_CALLS = 4  # of each caller
_TOLD = r"finished in ([\d.]+)(\w+), .* (\d+) succeeded, .* \((\d+)\) data"
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """As `benchmarks.load`: images per second, quantiles of latency in milliseconds."""
    request = pb.GenerateRequest(model=options.model, count=options.images, seed=0)
    with grpc.insecure_channel(options.target) as channel:
        answer = pb_grpc.ImageGenerationStub(channel).Generate(request)
    assert len(answer.images) == options.images
    assert answer.images[0].data.startswith(b"\x89PNG")
    call_bytes = answer.ByteSize() + 5  # gRPC's prefix
    with TemporaryDirectory() as made:
        body = request.SerializeToString()
        (Path(made) / "request").write_bytes(struct.pack(">?I", False, len(body)) + body)
        warm_up = max(_LEAST_CALLS * options.callers, 16)
        warm_up_s = _calls(options, Path(made), warm_up, call_bytes)
        calls = max(_LEAST_CALLS * options.callers, int(options.seconds * warm_up / warm_up_s))
        seconds = _calls(options, Path(made), calls, call_bytes)
        latencies_ms = np.loadtxt(Path(made) / "log", usecols=2, ndmin=1) / 1e3
    return {
        "images_per_s": calls * options.images / seconds,
        "calls": calls,
        "received": (1 + warm_up + calls) * options.images,
        "errors": 0,
    } | quantiles(latencies_ms)


def _calls(options: argparse.Namespace, folder: Path, calls: int, call_bytes: int) -> float:
    """Makes so many calls, all of which must succeed; how long they took, seconds."""
    command = [
        *("h2load", "--requests", str(calls), "--clients", "1", "--threads", "1"),
        *("--max-concurrent-streams", str(options.callers)),
        *("--window-bits", str(_WINDOW_BITS), "--connection-window-bits", str(_WINDOW_BITS)),
        *("--header", "content-type: application/grpc", "--header", "te: trailers"),
        *("--data", str(folder / "request"), "--log-file", str(folder / "log")),
        f"http://{options.target}{_PATH}",
    ]
    (folder / "log").unlink(missing_ok=True)
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(_TOLD, told, re.DOTALL)
    assert found is not None, told
    took, unit, succeeded, data = found.groups()
    assert int(succeeded) == calls, told
    assert int(data) == calls * call_bytes, "some answers were not the images"
    return float(took) * _UNITS_S[unit]


def main() -> None:
    """Reads the command line, loads, prints."""
    print(json.dumps(run(closed_loop(__doc__).parse_args())))


if __name__ == "__main__":
    main()
