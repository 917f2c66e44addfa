"""What a person sees while a run trains: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from training.monitor.verdict import Health, Verdict

_LINE_EVERY_S = 30.0  # without a terminal


class TrainingProgress:
    """A context in which `show` shows how far the run is, its losses, and its speed."""

    def __init__(self, name: str, total_itr: int, done_itr: int) -> None:
        self._name = name
        self._total = total_itr
        self._console = Console(file=sys.stderr)
        self._last_line_s = 0.0
        self._health = Health.healthy
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=total_itr, completed=done_itr, numbers="")

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, itr: int, verdict: Verdict | None = None) -> None:
        """Iterations done, after each one; a change of the monitor's verdict is said."""
        self._bar.update(self._task, completed=itr)
        if verdict is not None and verdict.health is not self._health:
            self._health = verdict.health
            self.say(f"iteration {verdict.itr:,}: {verdict}")

    def show(self, itr: int, numbers: str) -> None:
        """Shows the newest numbers; without a terminal, now and then as a line."""
        self._bar.update(self._task, numbers=numbers)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line_s >= _LINE_EVERY_S:
            self._last_line_s = now
            self.say(f"{self._name}  {itr}/{self._total}  {numbers}")

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        self._console.print(text, markup=False, highlight=False)
