"""Writes the server's settings into the chart's schema: `python -m scripts.chart_schema`.

So a setting that does not exist, or a value that the server would refuse, ends `helm install`
instead of a pod.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from server.config import ServeConfig

SCHEMA: Final = Path(__file__).parents[1] / "deploy" / "helm" / "ganagerie" / "values.schema.json"
MADE: Final = frozenset(
    {"zoo", "tls_cert", "tls_key", "tls_client_ca", "api_keys", "admin", "admin_keys"}
)
"""Settings that the chart makes of its other values."""
_OUTSIDE: Final = {"not": {"enum": ["127.0.0.1", "::1", "localhost"]}}
_OF_A_POD: Final[dict[str, dict[str, Any]]] = {
    "host": _OUTSIDE,
    "http_host": _OUTSIDE,
    "port": {"minimum": 1},
    "http_port": {"minimum": 1},
}
"""What suits a machine and no pod: an address that others do not reach, and any free port."""
_ALWAYS: Final = ("host", "port", "http_port", "shutdown_delay_s", "grace_s")
"""Settings that other parts of the chart are made of."""


def config_schema() -> dict[str, Any]:
    """The schema of the chart's value `config`."""
    properties = {
        name: {**{k: v for k, v in field.items() if k != "title"}, **_OF_A_POD.get(name, {})}
        for name, field in ServeConfig.model_json_schema()["properties"].items()
        if name not in MADE
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [*_ALWAYS],
        "properties": properties,
    }


def text() -> str:
    """The whole schema as it should be, its other parts as they are."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["properties"]["config"] = config_schema()
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(text(), encoding="utf-8")
