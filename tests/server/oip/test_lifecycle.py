"""Readiness through a server's whole life."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.inference.v2 import open_inference_pb2 as pb
from tests.gate import Gate
from tests.server.calls import TIMEOUT_S, Refusal, refusal, until
from tests.server.oip.calls import Oip, array, connect_oip, request, seeds
from tests.server.starting import Starting

STARTING = Refusal("UNAVAILABLE", "the server is starting: models are being loaded")


@pytest.fixture
def starting(toy_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starting]:
    server = Starting(toy_zoo, monkeypatch)
    yield server
    server.stop()


def is_ready(oip: Oip) -> bool:
    server = oip.stub.ServerReady(pb.ServerReadyRequest(), timeout=TIMEOUT_S).ready
    model = oip.stub.ModelReady(pb.ModelReadyRequest(name="plain"), timeout=TIMEOUT_S).ready
    assert server == model
    return server


def test_a_starting_server_is_live_but_not_ready(starting: Starting) -> None:
    with connect_oip(starting.grpc) as oip:
        assert oip.stub.ServerLive(pb.ServerLiveRequest()).live
        assert not is_ready(oip)
        assert oip.stub.ServerMetadata(pb.ServerMetadataRequest()).name == "ganagerie"
        assert oip.refusal(request("plain", seeds(1))) == STARTING
        asked: list[Any] = [
            lambda: oip.stub.ModelMetadata(pb.ModelMetadataRequest(name="plain")),
            lambda: oip.stub.ModelConfig(pb.ModelConfigRequest(name="plain")),
            lambda: oip.stub.ModelStatistics(pb.ModelStatisticsRequest()),
            lambda: oip.stub.ModelStatistics(pb.ModelStatisticsRequest(name="plain")),
            lambda: oip.stub.RepositoryIndex(pb.RepositoryIndexRequest()),
        ]
        assert [refusal(call) for call in asked] == [STARTING] * len(asked)
        starting.load()
        assert is_ready(oip)
        assert len(oip.infer("plain", seeds(1))) == 1


def test_a_stopping_server_finishes_what_it_has_and_takes_no_more(
    gate: Gate, starting: Starting
) -> None:
    with connect_oip(starting.grpc) as oip:
        starting.load()
        gate.close()
        running: Any = oip.stub.ModelInfer.future(request("plain", seeds(1, 2, 3)))
        gate.wait()
        starting.begin_to_stop()

        def refuses() -> bool:
            with connect_oip(starting.grpc) as other, contextlib.suppress(grpc.RpcError):
                return not is_ready(other)
            return True

        until(refuses, "no new calls")
        gate.open()
        assert len(array(running.result())) == 3
