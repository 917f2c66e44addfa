""".github/: workflows run what a person runs, with no more rights than they need."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.deploy.test_locked_requirements import PYTHONS

FOLDER = REPOSITORY / ".github" / "workflows"
WORKFLOWS: dict[str, dict[Any, Any]] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.yml")
}
_named = pytest.mark.parametrize("name", sorted(WORKFLOWS))


def _steps(name: str) -> list[dict[str, Any]]:
    return [step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"]]


def _targets() -> set[str]:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    described = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert described == {*phony.split()}
    return described


def test_there_are_three() -> None:
    assert WORKFLOWS.keys() == {"audit", "ci", "release"}


@_named
def test_they_run_targets_that_exist(name: str) -> None:
    run = [
        match
        for step in _steps(name)
        for match in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))
    ]
    assert run
    assert {*run} <= _targets()


@_named
def test_actions_are_pinned_to_commits_that_a_person_can_read(name: str) -> None:
    text = (FOLDER / f"{name}.yml").read_text(encoding="utf-8")
    lines = re.findall(r"^.*\buses: .*$", text, re.MULTILINE)
    assert lines
    for line in lines:
        assert re.search(r"uses: [\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+$", line), line
    pins = dict(re.findall(r"uses: ([\w./-]+)@([0-9a-f]{40})", text))
    assert {f"{action}@{commit}" for action, commit in pins.items()} == {
        step["uses"] for step in _steps(name) if "uses" in step
    }, "one action at two commits"


def test_only_publishing_has_rights_beyond_reading() -> None:
    granted = {
        (name, job): permissions
        for name, workflow in WORKFLOWS.items()
        for job, described in workflow["jobs"].items()
        if (permissions := described.get("permissions"))
    }
    assert granted == {
        ("release", "pypi"): {"id-token": "write"},
        ("release", "images"): {"contents": "read", "packages": "write"},
    }
    for workflow in WORKFLOWS.values():
        assert workflow["permissions"] == {"contents": "read"}


@_named
def test_checkouts_keep_no_credentials_and_jobs_end(name: str) -> None:
    for step in _steps(name):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
    for job in WORKFLOWS[name]["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 90


def test_every_python_that_is_promised_is_tested() -> None:
    assert WORKFLOWS["ci"]["jobs"]["test"]["strategy"]["matrix"]["python"] == [*PYTHONS]


def test_nothing_is_published_that_was_not_tested_and_built() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    assert WORKFLOWS["release"][True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as true
    assert (jobs["pypi"]["needs"], jobs["images"]["needs"]) == (["build", "images"], "build")
    assert jobs["build"]["needs"] == "test"


@pytest.mark.parametrize(
    ("target", "tags"),
    [
        ("cpu", "ghcr.io/some-one/zoo:v1.2.3-cpu,ghcr.io/some-one/zoo:1.2.3"),
        ("gpu", "ghcr.io/some-one/zoo:v1.2.3-gpu"),
        ("train", "ghcr.io/some-one/zoo:v1.2.3-train"),
    ],
)
def test_images_are_named_as_registries_and_the_chart_want_it(
    tmp_path: Path, target: str, tags: str
) -> None:
    steps = WORKFLOWS["release"]["jobs"]["images"]["steps"]
    (names,) = (step for step in steps if step.get("id") == "names")
    given = {"REPOSITORY": "Some-One/Zoo", "TAG": "v1.2.3", "TARGET": target}
    assert names["env"].keys() == given.keys()
    subprocess.run(
        ["bash", "-e", "-c", names["run"]],
        env={**os.environ, **given, "GITHUB_OUTPUT": str(tmp_path / "output")},
        check=True,
    )
    assert (tmp_path / "output").read_text() == f"tags={tags}\n"
    assert steps[-1]["with"]["tags"] == "${{ steps.names.outputs.tags }}"


def test_dependabot_looks_where_something_is() -> None:
    config = yaml.safe_load((FOLDER.parent / "dependabot.yml").read_text(encoding="utf-8"))
    folders = {u["package-ecosystem"]: u["directory"] for u in config["updates"]}
    assert folders.keys() == {"docker", "github-actions", "pip"}
    for folder in folders.values():
        assert (REPOSITORY / Path(folder).relative_to("/")).is_dir()
