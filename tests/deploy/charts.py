"""The chart of deploy/helm as Helm renders it."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY

CHART = REPOSITORY / "deploy" / "helm" / "ganagerie"
DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
needs_helm = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="Helm as a package, helm-python-sdk, is a development dependency on Linux x86_64 alone",
)
Document = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """What came of one set of values: the documents, or Helm's refusal."""

    documents: tuple[Document, ...] = ()
    notes: str = ""
    refusal: str = ""

    def all(self, kind: str) -> list[Document]:
        """The documents of a kind."""
        assert not self.refusal, self.refusal
        return [found for found in self.documents if found["kind"] == kind]

    def one(self, kind: str) -> Document:
        """The only document of a kind."""
        (found,) = self.all(kind)
        return found

    @property
    def pod(self) -> Document:
        """The pod's spec."""
        spec: Document = self.one("Deployment")["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> Document:
        """The server's container."""
        (found,) = self.pod["containers"]
        assert isinstance(found, dict)
        return found

    @property
    def toml(self) -> str:
        """The file that the server reads."""
        return str(self.one("ConfigMap")["data"]["serve.toml"])


def helm(cases: Sequence[Document]) -> dict[str, Any]:
    """Runs Helm on the chart: `answers`, a case each; its `lint`; its `version`."""
    command = [sys.executable, "-m", "tests.deploy.helm_process", str(CHART)]
    done = subprocess.run(
        command,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def render(cases: Sequence[Document]) -> list[Rendered]:
    """The chart with each of the values, installed as `art` in the namespace `prod`."""
    return [_rendered(answer) for answer in helm(cases)["answers"]]


def render_one(values: Document) -> Rendered:
    """The chart with these values."""
    (rendered,) = render([values])
    return rendered


def _rendered(answer: dict[str, str] | str) -> Rendered:
    if isinstance(answer, str):
        return Rendered(refusal=answer)
    texts = {name.rpartition("/")[2]: text for name, text in answer.items()}
    notes = texts.pop("NOTES.txt")
    return Rendered(tuple(d for text in texts.values() for d in _parsed(text)), notes)


@cache  # most of what many cases render is the same
def _parsed(text: str) -> tuple[Document, ...]:
    return tuple(d for d in yaml.load_all(text, Loader=_Strict) if d is not None)


class _Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader for which a key that comes twice is an error, as for Kubernetes' own tools."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, its keys each once."""
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        assert len(keys) == len({*keys}), f"twice: {keys} {node.start_mark}"
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping
