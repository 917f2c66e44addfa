"""Raw stubs on a channel, what a refused call says, and waiting for a state."""

from __future__ import annotations

import http.client
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2_grpc
from numpy.typing import NDArray
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from protos.v1 import ganagerie_pb2 as pb
from protos.v1 import ganagerie_pb2_grpc as pb_grpc

TIMEOUT_S = 10.0

Weighted = pb.WeightedClass | tuple[str | int, float]
"""A class, by name or by index, and its weight."""


class Refusal(NamedTuple):
    """A failed call.

    `field` and `reason` are those of its google.rpc.BadRequest, `retry_s` that of its RetryInfo,
    where it has one.
    """

    code: str
    text: str
    field: str | None = None
    reason: str | None = None
    retry_s: float | None = None


class Stubs:
    """The services on one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.images = pb_grpc.ImageGenerationStub(channel)
        self.zoo = pb_grpc.ZooStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)

    def generate(self, model: str, **fields: Any) -> list[pb.GeneratedImage]:
        request = pb.GenerateRequest(model=model, **fields)
        return list(self.images.Generate(request, timeout=TIMEOUT_S).images)

    def stream(self, model: str, **fields: Any) -> Iterator[pb.GeneratedImage]:
        request = pb.GenerateRequest(model=model, **fields)
        return iter(self.images.StreamGenerate(request, timeout=TIMEOUT_S))

    def refusal(self, model: str, **fields: Any) -> Refusal:
        """How both methods refuse a request; they must agree."""
        unary = refusal(lambda: self.generate(model, **fields))
        streamed = refusal(lambda: list(self.stream(model, **fields)))
        assert unary == streamed
        return unary


def one(**fields: Any) -> list[pb.Condition]:
    return [pb.Condition(**fields)]


def mixture(*classes: Weighted) -> list[pb.Condition]:
    weighted = [c if isinstance(c, pb.WeightedClass) else _weighted(*c) for c in classes]
    return one(mixture=pb.ClassMixture(classes=weighted))


def _weighted(key: str | int, weight: float) -> pb.WeightedClass:
    if isinstance(key, str):
        return pb.WeightedClass(class_name=key, weight=weight)
    return pb.WeightedClass(class_index=key, weight=weight)


@contextmanager
def connect(address: str) -> Iterator[Stubs]:
    """A channel of its own, with nothing remembered of an earlier server on that port."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options=options) as channel:
        yield Stubs(channel)


def refusal(call: Callable[[], object]) -> Refusal:
    """How a call fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value  # its stubs do not say what metadata is
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            assert (status.code, status.message) == (error.code().value[0], error.details())
            bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
            if status.details[0].Unpack(retry):
                retry_s = retry.retry_delay.ToTimedelta().total_seconds()
                return Refusal(error.code().name, error.details() or "", retry_s=retry_s)
            assert status.details[0].Unpack(bad)
            (violation,) = bad.field_violations
            named = violation.field, violation.description
            return Refusal(error.code().name, error.details() or "", *named)
    return Refusal(error.code().name, error.details() or "")


def fetch(address: str, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, content type and body of an HTTP answer."""
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_S)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.headers.get("content-type", ""), response.read().decode()
    finally:
        connection.close()


def metric(address: str, sample: str, **labels: str) -> float:
    """The sum of the samples in /metrics that have these labels; 0 where there is none yet."""
    families = text_string_to_metric_families(fetch(address, "/metrics")[2])
    return sum(
        found.value
        for family in families
        for found in family.samples
        if found.name == sample and labels.items() <= found.labels.items()
    )


def until(condition: Callable[[], object], what: str) -> None:
    """Waits for a condition."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {TIMEOUT_S} s: {what}"
        time.sleep(0.005)


def pixels(data: bytes) -> NDArray[np.uint8]:
    """A decoded image as uint8 [H, W, C]."""
    decoded = np.asarray(Image.open(io.BytesIO(data)))
    return decoded if decoded.ndim == 3 else decoded[:, :, None]
