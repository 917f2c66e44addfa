"""The limits of every setting, at both sides."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from server.config import ServeConfig


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("port", [0, 65535], [-1, 65536]),
        ("http_port", [0, 65535], [-1, 65536]),
        ("max_count", [1, 65536], [0, 65537]),
        ("max_batch", [1, 4096], [0, 4097]),
        ("max_batch_ms", [0.001, 60_000], [0, -1, 60_001, float("nan")]),
        ("max_queue_images", [1, 10**9], [0, -1]),
        ("max_queue_bytes", [2**24, 2**40], [0, 2**24 - 1]),
        ("max_queue_delay_ms", [0, 10_000], [-0.1, 10_001, float("nan")]),
        ("cache_bytes", [0, 1, 2**40], [-1]),
        ("gpus", ["0", "3", "0,1,12"], ["", "a", "-1", "0,", ",1", "0 1"]),
        ("runners", [1, 256], [0, 257]),
        ("watch_interval_s", [0.01, 3600], [0, 0.009, 3600.1, float("nan")]),
        ("max_loaded_models", [0, 1, 10**6], [-1, 10**6 + 1]),
        ("max_model_bytes", [0, 1, 2**62], [-1, 2**62 + 1]),
        ("shutdown_delay_s", [0, 3600], [-0.1, 3600.1, float("nan"), float("inf")]),
        ("grace_s", [0, 3600], [-0.1, 3600.1, float("nan"), float("inf")]),
        ("max_in_flight_per_key", [0, 1, 10**9], [-1]),
        ("max_request_bytes", [1024, 2**31 - 1], [1023, 2**31]),
        ("max_metadata_bytes", [1024, 2**20], [1023, 2**20 + 1]),
        ("max_streams", [1, 2**31 - 1], [0, 2**31]),
        ("max_connection_age_s", [0, 10**6], [-0.1, 10**6 + 1, float("nan")]),
        ("max_connection_age_grace_s", [0, 10**6], [-0.1, 10**6 + 1]),
        ("min_ping_interval_s", [0, 10**6], [-0.1, 10**6 + 1]),
        ("http_host", ["::1"], [""]),
        ("device", ["auto", "cpu", "cuda"], ["gpu", "", "CPU"]),
        ("log_format", ["auto", "console", "json"], ["text", "JSON"]),
    ],
)
def test_a_setting_is_taken_up_to_its_limits_and_not_beyond(
    name: str, inside: list[Any], outside: list[Any]
) -> None:
    others: dict[str, Any] = {"max_count": 1, "max_queue_images": 10**6, "api_keys": "a"}
    for value in inside:
        assert getattr(ServeConfig(**{**others, name: value}), name) == value
    for value in outside:
        with pytest.raises(ValidationError) as caught:
            ServeConfig(**{**others, name: value})
        assert [problem["loc"] for problem in caught.value.errors()] == [(name,)]


@pytest.mark.parametrize(("gpus", "numbers"), [("0", (0,)), ("1,0", (1, 0)), ("2,2,3,2", (2, 3))])
def test_gpus_are_numbers_each_once(gpus: str, numbers: tuple[int, ...]) -> None:
    assert ServeConfig(gpus=gpus).gpu_numbers == numbers
