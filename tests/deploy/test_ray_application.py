"""The application's files, without a cluster."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY

pytest.importorskip("ray", reason="needs Ray, which is heavy: make ray-check")

# Ray's own use of pydantic, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")

FILES = sorted((REPOSITORY / "deploy" / "ray").glob("serve*.yaml"))


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
