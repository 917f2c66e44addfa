"""How the checks tell what holds, and end at the first thing that does not."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """A line at once, also into a pipe."""
    print(line, flush=True)


def check(condition: object, what: str) -> None:
    """Says that it holds, or exits with code 1 and says so."""
    if not condition:
        sys.exit(f"FAILED: {what}")
    say(f"ok: {what}")
