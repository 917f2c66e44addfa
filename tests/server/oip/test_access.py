"""API keys guard the Open Inference Protocol as they do the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protos.inference.v2 import open_inference_pb2 as pb
from tests.server.calls import TIMEOUT_S, Refusal, connect, refusal
from tests.serving import server_in_thread

KEY = "correct-horse-battery"
NO_KEY = Refusal("UNAUTHENTICATED", "no API key; send it as metadata 'authorization': 'Bearer KEY'")
SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
NAMED: dict[str, bytes] = {
    "ModelMetadata": pb.ModelMetadataRequest(name="plain").SerializeToString(),
    "ModelConfig": pb.ModelConfigRequest(name="plain").SerializeToString(),
    "ModelInfer": pb.ModelInferRequest(model_name="plain").SerializeToString(),
}


@pytest.fixture(scope="module")
def guarded(toy_zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"alice {KEY}\n")
    with server_in_thread(toy_zoo, api_keys=keys) as running:
        yield running.grpc


OPEN = ("ServerLive", "ServerReady")


@pytest.mark.parametrize("name", OPEN)
def test_probes_need_no_key(guarded: str, name: str) -> None:
    with connect(guarded) as stubs:
        channel: Any = stubs.channel
        ask = channel.unary_unary(f"/{SERVICE.full_name}/{name}")
        assert ask(b"", timeout=TIMEOUT_S) == pb.ServerLiveResponse(live=True).SerializeToString()


@pytest.mark.parametrize("name", [m.name for m in SERVICE.methods if m.name not in OPEN])
def test_every_call_needs_a_key(guarded: str, name: str) -> None:
    with connect(guarded) as stubs:
        channel: Any = stubs.channel
        ask = channel.unary_unary(f"/{SERVICE.full_name}/{name}")
        body = NAMED.get(name, b"")
        assert refusal(lambda: ask(body, timeout=TIMEOUT_S)) == NO_KEY
        metadata = (("authorization", f"Bearer {KEY}"),)
        assert isinstance(ask(body, timeout=TIMEOUT_S, metadata=metadata), bytes)
