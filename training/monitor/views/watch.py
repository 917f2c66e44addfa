"""The live view of a run: reads its files, draws a frame, waits, again."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from training.errors import RunError
from training.monitor.views.observed import ObservedRun
from training.monitor.views.screen import final_line, frame
from training.monitor.views.sparkline import ASCII

_PLAIN_SIZE = {"COLUMNS": ("width", 100), "LINES": ("height", 40)}


def watch(path: Path, every_s: float, *, once: bool) -> None:
    """Shows a run on the terminal until Ctrl-C or SIGTERM.

    Where stdout is no terminal, or with `once`, one frame is printed.

    Args:
        path: a run directory, or the file of a series.
        every_s: seconds between frames.
        once: see above.

    Raises:
        RunError: there is nothing to watch; or, of a single frame, nothing to see yet.
    """
    run = ObservedRun(path)
    if once or not sys.stdout.isatty():
        run.poll()
        if run.verdict is None:
            raise RunError(f"{path}: nothing has been recorded yet")
        console = Console() if sys.stdout.isatty() else Console(**_plain_size())
        console.print(_drawn(run, console))
        return
    console = Console()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _show(run, console, every_s)
    except KeyboardInterrupt:
        # The screen is the one from before again: what was seen last stays.
        console.print(final_line(run.verdict), markup=False, highlight=False)
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(run: ObservedRun, console: Console, every_s: float) -> NoReturn:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            run.poll()
            live.update(_drawn(run, console), refresh=True)
            time.sleep(every_s)


def _plain_size() -> dict[str, Any]:
    """Of a frame that goes to no terminal; rich looks into the environment by itself."""
    return dict(size for name, size in _PLAIN_SIZE.items() if name not in os.environ)


def _drawn(run: ObservedRun, console: Console) -> Group:
    lines = frame(run, console.width, console.height)
    if console.encoding.lower().replace("-", "") != "utf8":
        lines = [_ascii(line) for line in lines]
    return Group(*lines)


def _ascii(line: Text) -> Text:
    plain = line.plain.translate(ASCII).encode("ascii", "replace").decode("ascii")
    return Text(plain, no_wrap=True, spans=line.spans)
