"""Which settings of the server a Ray Serve application takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.ray.settings import NOT_HERE, checked
from server.config import ServeConfig
from server.errors import ConfigError


def test_settings_are_those_of_the_server() -> None:
    config = checked({"max_count": 65536, "max_loaded_models": 1, "zoo": "/any"})
    assert (config.max_count, config.max_loaded_models, config.zoo) == (65536, 1, Path("/any"))
    with pytest.raises(ConfigError) as raised:
        checked({"max_count": 65537, "devise": "cpu"})
    assert str(raised.value) == (
        "max_count: Input should be less than or equal to 65536; "
        "devise: Extra inputs are not permitted"
    )


def test_what_an_application_has_no_use_for_is_refused() -> None:
    with pytest.raises(ConfigError) as raised:
        checked({"port": 1, "api_keys": "keys", "max_batch": 8})
    assert str(raised.value) == (
        "api_keys, port: not a setting of a Ray Serve application; leave it out "
        "(docs/ray.md says what takes its place)"
    )


def test_every_setting_is_of_use_or_refused() -> None:
    used = {
        *("zoo", "device", "runners", "watch", "watch_interval_s", "log_format", "cache_bytes"),
        *("max_count", "max_batch", "max_batch_ms", "max_loaded_models", "max_model_bytes"),
        *("max_queue_images", "max_queue_bytes", "max_queue_delay_ms", "tf32"),
    }
    assert used | NOT_HERE == ServeConfig.model_fields.keys()
