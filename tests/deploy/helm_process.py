"""`python -m tests.deploy.helm_process CHART`: renders with Helm itself, for `charts.py`.

In a process of its own, because Go's runtime has threads and signal handlers. Reads a JSON array of
values from stdin; writes one of what came of each: the text of each template, or a refusal.
"""

from __future__ import annotations

import json
import sys

import helm_python as helm


def main() -> None:
    """Renders each of the values."""
    answers: list[dict[str, str] | str] = []
    with helm.Chart.load(sys.argv[1]) as chart:
        for values in json.load(sys.stdin):
            try:
                answers.append(chart.render(values, name="art", namespace="prod"))
            except helm.HelmError as error:
                answers.append(str(error))
    lint = helm.lint(sys.argv[1], strict=True)
    json.dump({"answers": answers, "lint": lint, "version": helm.helm_sdk_version()}, sys.stdout)


if __name__ == "__main__":
    main()
