"""The application's settings and its files, without a cluster."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.config import ServeConfig
from server.errors import ConfigError
from tests.conftest import REPOSITORY

pytest.importorskip("ray", reason="needs Ray, which is heavy: make ray-check")

# Ray's own use of pydantic, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")

FILES = sorted((REPOSITORY / "deploy" / "ray").glob("serve*.yaml"))


def build(args: dict[str, Any]) -> Any:
    from deploy.ray.application import build

    return build(args)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_file_is_one_that_serve_takes(file: Path) -> None:
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(yaml.safe_load(file.read_text()))
    (app,) = config.applications
    module, _, name = app.import_path.partition(":")
    made = getattr(import_module(module), name)(app.args)
    assert {each.name for each in app.deployments} == {"Ingress", "Replica"}
    assert made._bound_deployment.name == "Ingress"
    for function in config.grpc_options.grpc_servicer_functions:
        module, _, name = function.rpartition(".")
        assert callable(getattr(import_module(module), name))


def test_settings_are_those_of_the_server() -> None:
    build({"max_count": 65536, "max_loaded_models": 1, "zoo": "/any"})
    with pytest.raises(ConfigError) as raised:
        build({"max_count": 65537, "devise": "cpu"})
    assert str(raised.value) == (
        "max_count: Input should be less than or equal to 65536; "
        "devise: Extra inputs are not permitted"
    )


def test_what_an_application_has_no_use_for_is_refused() -> None:
    with pytest.raises(ConfigError) as raised:
        build({"port": 1, "api_keys": "keys", "max_batch": 8})
    assert str(raised.value) == (
        "api_keys, port: not a setting of a Ray Serve application; leave it out "
        "(docs/ray.md says what takes its place)"
    )


def test_every_setting_is_known_to_be_of_use_or_not() -> None:
    from deploy.ray.application import _NOT_HERE

    used = {
        *("zoo", "device", "runners", "watch", "watch_interval_s", "log_format"),
        *("max_count", "max_batch", "max_batch_ms", "max_loaded_models", "max_model_bytes"),
        *("max_queue_images", "max_queue_bytes", "max_queue_delay_ms"),
    }
    assert used | _NOT_HERE == ServeConfig.model_fields.keys()
