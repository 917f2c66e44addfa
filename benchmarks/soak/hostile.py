"""Clients that mean harm, or know no better: each attack with the answers that it may get."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import grpc

from benchmarks.soak.client import HUNG_S, OPTIONS, Spec
from benchmarks.soak.report import Report
from protos.v1 import ganagerie_pb2 as pb

_CONNECT_S: Final = 10.0
_HALF_OPEN: Final = 40  # connections that stay open and say nothing more
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_PREFIX: Final = "/ganagerie.v1.ImageGeneration/"
_METHODS: Final = (
    f"{_PREFIX}Generate",
    f"{_PREFIX}StreamGenerate",
    "/ganagerie.v1.Zoo/GetModel",
    "/inference.GRPCInferenceService/ModelInfer",
)


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """An HTTP/2 frame (RFC 9113, section 4.1)."""
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


class Hostile:
    """One attack after the other; `report` has what came of them."""

    def __init__(self, spec: Spec, channel: grpc.Channel) -> None:
        self._spec, self._channel = spec, channel
        self._random = random.Random(spec.seed)  # noqa: S311  no secret
        self._open: list[socket.socket] = []
        self.report = Report()
        self.attacks: list[Callable[[], None]] = [
            self._noise,
            self._frames,
            self._half_open,
            self._no_key,
            self._bad_message,
            self._impossible,
            self._beside,
            self._silent,
        ]

    def _connect(self) -> socket.socket:
        host, port = self._random.choice((self._spec.grpc, self._spec.http)).split(":")
        return socket.create_connection((host, int(port)), _CONNECT_S)

    def _say(self, words: bytes, kind: str) -> None:
        with self._connect() as client, suppress(OSError):  # hung up on: an answer too
            client.sendall(words)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        self.report.beside[kind] += 1

    def _noise(self) -> None:
        noise = self._random.randbytes(self._random.choice((1, 100, 20_000)))
        words = self._random.choice((b"", b"GET / HTTP/1.1\r\nX: ", b"\x16\x03\x01", _PREFACE))
        self._say(words + noise, "noise")

    def _frames(self) -> None:
        choose = self._random
        frames = [_frame(4, 0, 0, b"")]
        for _ in range(choose.choice((1, 10, 200))):
            body = choose.randbytes(choose.choice((0, 4, 5, 8, 60)))
            stream = choose.choice((0, 1, 2, 3, 2**31 - 1))
            frames.append(_frame(choose.randrange(12), choose.randrange(256), stream, body))
        self._say(_PREFACE + b"".join(frames), "frames")

    def _half_open(self) -> None:
        client = self._connect()
        with suppress(OSError):
            client.sendall(self._random.choice((b"", _PREFACE[:9], _PREFACE, b"GET /readyz HT")))
        self._open.append(client)
        self.report.beside["half open"] += 1
        if len(self._open) > _HALF_OPEN:
            self._open.pop(0).close()

    def _call(self, method: str, body: bytes, allowed: str, key: str | None = None) -> None:
        """A call with any body; its end is the server's word, and one of `allowed`."""
        name = method.rsplit("/", 1)[-1]
        code = self._code(method, body, key)
        if code == "DEADLINE_EXCEEDED":
            self.report.given_up[name] += 1
        else:
            self.report.answered[f"{name} {code}"] += 1
        if code not in allowed.split():
            self.report.complain(f"hostile: {name} with {body[:40]!r} ended with {code}")

    def _code(self, method: str, body: bytes, key: str | None, *more: tuple[str, str]) -> str:
        metadata = [*((("authorization", f"Bearer {key}"),) if key is not None else ()), *more]
        channel: Any = self._channel
        ask = channel.unary_stream if "Stream" in method else channel.unary_unary
        try:
            answer = ask(method)(body, timeout=HUNG_S, metadata=metadata)
            if not isinstance(answer, bytes):
                list(answer)
        except grpc.RpcError as error:
            code: str = error.code().name
            return code
        return "OK"

    def _no_key(self) -> None:
        key = self._random.choice((None, "", "wrong-wrong-wrong-wrong", "x" * 3000))
        body = pb.GenerateRequest(model="dcgan-emnist").SerializeToString()
        self._call(self._random.choice(_METHODS), body, "UNAUTHENTICATED", key)

    def _bad_message(self) -> None:
        body = self._random.randbytes(self._random.randrange(60))
        allowed = "INVALID_ARGUMENT NOT_FOUND"
        self._call(self._random.choice(_METHODS), body, allowed, self._spec.key)

    def _impossible(self) -> None:
        method = self._random.choice(_METHODS[:2])
        model, huge = "dcgan-emnist", "x" * 1_000_000
        request, code = self._random.choice(
            (
                (pb.GenerateRequest(model=model, count=0), "INVALID_ARGUMENT"),
                (pb.GenerateRequest(model=model, count=2**32 - 1), "INVALID_ARGUMENT"),
                (pb.GenerateRequest(model=model, truncation=float("nan")), "INVALID_ARGUMENT"),
                (pb.GenerateRequest(model=model, quality=50), "INVALID_ARGUMENT"),
                (pb.GenerateRequest(model=model, seed=2**64 - 1, count=2), "INVALID_ARGUMENT"),
                (pb.GenerateRequest(model=huge), "NOT_FOUND"),
                (pb.GenerateRequest(), "NOT_FOUND"),
            )
        )
        self._call(method, request.SerializeToString(), code, self._spec.key)

    def _beside(self) -> None:
        """What gRPC refuses by itself, and what health checks refuse; no metric counts either."""
        key = self._spec.key
        generate, health = _METHODS[0], "/grpc.health.v1.Health/Check"
        large, long = bytes(5 * 2**20), ("x", "y" * 100_000)
        attacks: tuple[tuple[str, str, Callable[[], str]], ...] = (
            ("a large message", "RESOURCE_EXHAUSTED", lambda: self._code(generate, large, key)),
            ("long metadata", "RESOURCE_EXHAUSTED", lambda: self._code(generate, b"", key, long)),
            ("no method", "UNIMPLEMENTED", lambda: self._code(f"{_PREFIX}Nothing", b"", key)),
            ("an empty health check", "INVALID_ARGUMENT", lambda: self._without_message(health)),
            ("a bad health check", "INVALID_ARGUMENT", lambda: self._code(health, b"\xff", None)),
        )
        kind, allowed, code = self._random.choice(attacks)
        self.report.beside[kind] += 1
        if (found := code()) != allowed:
            self.report.complain(f"hostile: {kind} ended with {found}")

    def _without_message(self, method: str, timeout_s: float = HUNG_S) -> str:
        channel: Any = self._channel
        metadata = self._spec.metadata
        call = channel.stream_stream(method)(iter(()), timeout=timeout_s, metadata=metadata)
        with suppress(grpc.RpcError):
            list(call)
        code: str = call.code().name
        return code

    def _silent(self) -> None:
        """A call without a message, which gRPC does not hand on, so that nobody can answer it."""
        code = self._without_message(_METHODS[0], timeout_s=0.2)
        self.report.given_up["Generate"] += 1
        if code not in {"DEADLINE_EXCEEDED", "INVALID_ARGUMENT"}:
            self.report.complain(f"hostile: Generate without a message ended with {code}")

    def attack(self) -> None:
        """One of them."""
        self._random.choice(self.attacks)()


def hostile(spec: Spec) -> Report:
    """Attacks until the time is over."""
    end_s = time.monotonic() + spec.seconds
    with grpc.insecure_channel(spec.grpc, options=OPTIONS) as channel:
        attacker = Hostile(spec, channel)
        while time.monotonic() < end_s:
            attacker.attack()
            time.sleep(0.02)
    return attacker.report
