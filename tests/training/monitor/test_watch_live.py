"""The live view, on a terminal of its own: it follows a run, and ends as if nothing had been."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.training.monitor.recorded import write_run


class Terminal:
    """The live view in a process of its own, on a terminal of 80 columns and 24 rows."""

    def __init__(self, path: Path) -> None:
        self._ours, theirs = pty.openpty()
        size = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm-256color"}
        environment = os.environ | size | {"PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ganagerie.cli", "monitor", "watch", path, "--every", "0.1"],
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""

    def read_until(self, text: str, timeout_s: float = 60) -> None:
        """Reads on; fails if `text` does not come."""
        deadline = time.monotonic() + timeout_s
        while text not in self.shown:
            assert time.monotonic() < deadline, f"waited in vain for {text!r}: {self.shown[-2000:]}"
            self._read(0.1)

    def finish(self) -> int:
        """Waits for its end; its exit code."""
        deadline = time.monotonic() + 30
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self._read(0.05)
        self._read(0.1)
        return self.process.returncode

    def close(self) -> None:
        """Ends it, if it has not ended."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def _read(self, timeout_s: float) -> None:
        if select.select([self._ours], [], [], timeout_s)[0]:
            try:
                self.shown += os.read(self._ours, 65_536).decode(errors="replace")
            except OSError:  # the other end is closed
                time.sleep(0.01)


@contextmanager
def terminal(path: Path) -> Iterator[Terminal]:
    opened = Terminal(path)
    try:
        yield opened
    finally:
        opened.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_live_view_follows_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with terminal(run) as view:
        view.read_until("waiting for the first tick")
        assert "\x1b[?25l" in view.shown  # the cursor is hidden
        write_run(run, last=50)
        view.read_until("50 of 2,000")
        write_run(run, last=500)
        view.read_until("500 of 2,000")
        view.process.send_signal(number)
        assert view.finish() == 0
        ended = view.shown[view.shown.rindex("\x1b[?1049l") :]  # the screen from before
        assert view.shown.rindex("\x1b[?25h") > view.shown.rindex("\x1b[?25l")
        assert "iteration 500: healthy" in ended
        assert "Traceback" not in view.shown
