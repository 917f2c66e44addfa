"""Runs a study and writes what it found: numbers, figures, and a page that needs no other file."""

from __future__ import annotations

import base64
import json
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from training.errors import RunError
from training.page import facts, page
from training.runlog import write_text_atomically
from training.studies.study import Claim, Findings, Setting, Study
from zoo.errors import one_line

RESULTS = "results.json"
PAGE = "index.html"
VERDICTS = {True: "agrees", False: "disagrees", None: "cannot tell"}
"""In words, what `Claim.agrees` says."""

_COLOURS = {True: "healthy", False: "collapsed", None: "suspect"}
_LINE_EVERY_S = 30.0  # without a terminal


class Shown:
    """A context in which a study's progress is shown on stderr: bars, or plain lines in a log."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)
        self._last_line_s = time.monotonic()
        self._bars = Progress(
            TextColumn("[bold]{task.description}", markup=True),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> Shown:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Prints a line above the bars."""
        self._console.print(text, markup=False, highlight=False)

    def track(self, items: Iterable[Any], description: str, total: int | None) -> Iterator[Any]:
        """Goes through `items`; its bar is there as long as it lasts."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        if not self._bars.tasks:  # a run within a study has a bar of its own
            self._bars.start()
        task = self._bars.add_task(description, total=total)
        try:
            for done, item in enumerate(items, 1):
                yield item
                self._bars.update(task, completed=done)
                now = time.monotonic()
                if not self._console.is_terminal and now - self._last_line_s >= _LINE_EVERY_S:
                    self._last_line_s = now
                    self.say(f"{description}  {done}" + (f"/{total}" if total else ""))
        finally:
            self._bars.remove_task(task)
            if not self._bars.tasks:
                self._bars.stop()


def prepare(out: Path) -> None:
    """Makes the folder of the results.

    Raises:
        RunError: it holds results already, or cannot be made.
    """
    if (out / RESULTS).exists():
        raise RunError(f"{out} holds results already; name another folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write to {out}: {one_line(error)}; use --out") from error


def perform(study: Study, setting: Setting) -> Findings:
    """Runs a study in the setting's folder, and writes `results.json` and `index.html` last.

    torch's random state is the caller's again afterwards.

    Raises:
        TrainingError: whatever is in the way; then there are no results.
    """
    prepare(setting.out)
    begun = time.perf_counter()
    try:
        with torch.random.fork_rng():
            findings = study.run(setting)
        took_s = time.perf_counter() - begun
        made: dict[str, Any] = {
            "took_s": round(took_s, 1),
            "device": str(setting.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        # pydantic writes null for what is not finite; JSON has no other word for it.
        tree = json.loads(findings.model_dump_json()) | {"made": made}
        text = json.dumps(tree, indent=1, ensure_ascii=False)
        body = "\n".join(_body(study, findings, made, setting.out))
        write_text_atomically(setting.out / PAGE, page(study.title, body))
        write_text_atomically(setting.out / RESULTS, f"{text}\n")
    except OSError as error:
        raise RunError(f"{setting.out}: cannot be written: {one_line(error)}; use --out") from error
    return findings


def _body(study: Study, findings: Findings, made: dict[str, Any], out: Path) -> Iterator[str]:
    yield f"<h1>{escape(study.title)}</h1>"
    yield f"<p>{escape(study.question)}</p>"
    yield f'<p class="note">{escape(study.source)}</p>'
    if findings.quick:
        yield (
            '<div class="verdict"><span class="badge suspect">a trial</span> '
            "Sizes of --quick: it shows that the study works, and proves little.</div>"
        )
    yield f"<h2>What was found</h2><p>{escape(findings.words)}</p>"
    if findings.claims:
        yield "<h2>Held against what its author says</h2>"
        rows = "".join(map(_claim, findings.claims))
        yield f"<table><tr><th></th><th>the author</th><th>here</th></tr>{rows}</table>"
    for figure in findings.figures:
        data = base64.b64encode((out / f"{figure.name}.png").read_bytes()).decode()
        caption = escape(figure.caption)
        yield (
            f'<figure><img src="data:image/png;base64,{data}" alt="{caption}" '
            f'style="max-width:100%"><figcaption>{caption}</figcaption></figure>'
        )
    yield "<h2>Sizes and machine</h2>"
    yield facts([(k, str(v)) for k, v in (findings.settings | made).items()])
    yield f'<p class="note">Every number: {RESULTS}, beside this page.</p>'


def _claim(claim: Claim) -> str:
    badge = f'<span class="band {_COLOURS[claim.agrees]}">{VERDICTS[claim.agrees]}</span>'
    return f"<tr><td>{badge}</td><td>{escape(claim.author)}</td><td>{escape(claim.found)}</td></tr>"
