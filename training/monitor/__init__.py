"""The collapse monitor: what is observed of a run, and what it means.

from training.monitor import CollapseMonitor, Health
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.monitor.collapse import Detector
    from training.monitor.verdict import Health, Verdict
    from training.monitor.watcher import CollapseMonitor

__all__ = ["CollapseMonitor", "Detector", "Health", "Verdict"]

_MODULES = {
    "CollapseMonitor": "watcher",
    "Detector": "collapse",
    "Health": "verdict",
    "Verdict": "verdict",
}


def __getattr__(name: str) -> Any:
    """Loads what is asked for: recipes know the monitor's settings, and need no torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
