"""What gRPC itself keeps to: sizes, streams, the age of connections, pings."""

from __future__ import annotations

from typing import Final

from server.config import ServeConfig

NO_PORT_SHARING: Final = ("grpc.so_reuseport", 0)  # else a second server takes half of the calls
_STRIKES: Final = 2  # pings that come too early before the connection is closed


def server_options(config: ServeConfig) -> list[tuple[str, int]]:
    """The options of the gRPC server."""
    options = [
        NO_PORT_SHARING,
        ("grpc.max_receive_message_length", config.max_request_bytes),
        # Between the two gRPC refuses at random; we want one limit.
        ("grpc.max_metadata_size", config.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", config.max_metadata_bytes),
        ("grpc.max_concurrent_streams", config.max_streams),
        # Pings without a request count as any others; with them a client keeps its way open.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(config.min_ping_interval_s)),
        ("grpc.http2.max_ping_strikes", _STRIKES if config.min_ping_interval_s else 0),
    ]
    if config.max_connection_age_s:
        options += [
            ("grpc.max_connection_age_ms", max(1, _ms(config.max_connection_age_s))),
            ("grpc.max_connection_age_grace_ms", _ms(config.max_connection_age_grace_s)),
        ]
    return options


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
