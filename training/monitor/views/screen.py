"""What `ganagerie monitor watch` shows: one frame, as lines that fit a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.text import Text

from training.monitor.verdict import Health, Verdict
from training.monitor.views.history import GROWTH_TICKS, Column
from training.monitor.views.observed import ObservedRun
from training.monitor.views.sparkline import sparkline

HEALTH_STYLES = {
    Health.healthy: ("●", "bold green"),
    Health.suspect: ("▲", "bold yellow"),
    Health.decaying: ("▼", "bold dark_orange"),
    Health.collapsed: ("■", "bold red"),
}
"""A mark, so that it can be told without colour, and a style."""

_HEADINGS = {"G": "bold cyan", "D": "bold magenta"}
_LABEL = 12  # characters
_NAME = 7
_FAR = 2.0  # times the best distance, from which on bars are full
_FEWEST_LAYERS = 3  # of each network, however low the terminal
_LATE_S = 600.0  # without a line a run may be over
_MOST_REASONS, _MOST_EVENTS = 3, 4
_NONE = "–"  # noqa: RUF001  an en dash is meant


def frame(run: ObservedRun, width: int, height: int) -> list[Text]:
    """The lines of a frame, at most `height` of at most `width` characters.

    Where there is room there are more layers; where there is little, fewer events and reasons.
    """
    top = [_title(run, width), _progress(run, width), *_verdict(run)]
    if run.verdict is None:
        return _fitted(top, width, height)
    numbers = _numbers(run, width)
    events = _events(run.events)
    spare = height - len(top) - len(numbers) - 2 * (2 + _FEWEST_LAYERS)
    events = events[: max(1, spare)] if events else []
    rows = (height - len(top) - len(numbers) - len(events) - 5) // 2
    middle = _layers(run, max(_FEWEST_LAYERS, rows), width)
    room = len(top) + len(middle) + len(numbers) + len(events) + 2 <= height
    blank = [Text()] if room else []
    if not middle:
        return _fitted([*top, *blank, *numbers, *events], width, height)
    return _fitted([*top, *blank, *middle, *blank, *numbers, *events], width, height)


def _fitted(lines: list[Text], width: int, height: int) -> list[Text]:
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return lines[:height]


def _title(run: ObservedRun, width: int) -> Text:
    age = run.written_s_ago
    if run.finished:
        state = Text("finished", "green")
    elif run.stopped:
        state = Text("stopped", "red")
    elif age is None:
        state = Text("nothing written yet", "yellow")
    else:
        state = Text(f"written {_duration(age)} ago", "yellow" if age > _LATE_S else "dim")
    name = Text(run.name, "bold")
    name.truncate(max(1, width - len(state) - 2), overflow="ellipsis")
    return Text.assemble(name, " " * max(1, width - len(name) - len(state)), state)


def _progress(run: ObservedRun, width: int) -> Text:
    itr, total = run.itr, run.total_itr
    words = []
    if (epoch := run.metrics["epoch"].newest) is not None:
        words.append(f"epoch {epoch:.1f}")
    if (rate := run.metrics["images_per_s"].newest) is not None:
        words.append(f"{rate:,.0f} images/s")
    if total is None:
        return Text("  ".join([f"iteration {itr:,}", *words]))
    share = min(1.0, itr / total) if total else 1.0
    seen = run.metrics["images_seen"].newest
    if rate and seen and itr and not run.stopped and itr < total:
        words.append(
            f"{_duration((total - itr) * seen / run.metrics['images_seen'].itrs[-1] / rate)} left"
        )
    before, after = f"iteration {itr:,} of {total:,}  ", f" {share:4.0%}  " + "  ".join(words)
    bar = max(4, width - len(before) - len(after))
    done = round(share * bar)
    return Text.assemble(before, ("━" * done, "green"), ("─" * (bar - done), "dim"), after)


def _verdict(run: ObservedRun) -> list[Text]:
    verdict = run.verdict
    if verdict is None:
        return [Text("waiting for the first tick of the monitor", "yellow")]
    mark, style = HEALTH_STYLES[verdict.health]
    line = Text.assemble((f"{mark} {verdict.health.value.upper()}", style))
    if verdict.since is not None:
        line.append(f"  since iteration {verdict.since:,}")
    reasons = [Text(f"  {reason}", style.removeprefix("bold ")) for reason in verdict.reasons]
    if len(reasons) > _MOST_REASONS:
        more = len(reasons) - _MOST_REASONS + 1
        reasons = [*reasons[: _MOST_REASONS - 1], Text(f"  and {more} more reasons", "dim")]
    return [line, *reasons]


def _layers(run: ObservedRun, most: int, width: int) -> list[Text]:
    """Of both networks the layers whose sigma0 grew most over the newest window, fastest first."""
    named = {reason.where for reason in run.verdict.reasons} if run.verdict else set()
    shown: dict[str, list[tuple[float, str, Column]]] = {}
    for network in _HEADINGS:
        columns = [(name, run.spectra[network, name, "0"]) for name in run.spectra.below(network)]
        grown = [
            (column.newest_growth() or 1.0, name, column) for name, column in columns if column
        ]
        shown[network] = sorted(grown, key=lambda layer: -layer[0])[:most]
    lengths = [len(name) + 2 for layers in shown.values() for _, name, _ in layers]
    name_width = min(max(18, *lengths), max(18, width // 3)) if lengths else 0
    spark = max(4, (width - name_width - 20) // 2)
    lines = []
    for network, layers in shown.items():
        if layers:
            heading = f"{f'{network}, fastest first':<{name_width}}{'σ0':>9}{'growth':>8}  "
            lines.append(Text(f"{heading}{'σ0 so far':<{spark}} growth of σ0", _HEADINGS[network]))
        for growth, name, sigma0 in layers:
            title = (
                Text(f"! {name}", "bold red") if f"{network}.{name}" in named else Text(f"  {name}")
            )
            title.truncate(name_width, overflow="ellipsis", pad=True)
            lines.append(Text.assemble(title, *_sigma0(growth, sigma0, spark)))
    return lines


def _sigma0(growth: float, sigma0: Column, spark: int) -> Iterator[str | tuple[str, str]]:
    grown = sigma0.growth()
    change = f"{growth - 1:+.1%}" if growth < 10 else f"×{growth:.3g}"
    yield f"{sigma0.values[-1]:>9.4g}{change if grown else _NONE:>8}  "
    yield f"{sparkline(sigma0.itrs, sigma0.values, spark):<{spark}} ", "blue"
    yield sparkline(grown.itrs, grown.values, spark), "blue"


def _numbers(run: ObservedRun, width: int) -> list[Text]:
    """Everything that is known besides the spectra, a line a subject."""
    spectra, metrics = run.spectra, run.metrics
    spark = max(4, (width - _LABEL) // 2 - _NAME - 11)
    lines = []

    def pairs(label: str, *shown: tuple[str, Column, str], bars: bool = True) -> None:
        known = [(name, column, form) for name, column, form in shown if column]
        if not known:
            return
        line = Text.assemble((f"{label:<{_LABEL}}", "bold"))
        for name, column, form in known:
            value = f"{column.values[-1]:{form}}"
            if not bars:
                line.append_text(Text.assemble((f"{name} ", "dim"), f"{value}   "))
                continue
            bar = sparkline(column.itrs, column.values, spark)
            line.append_text(
                Text.assemble(
                    (f"{name:<{_NAME}} ", "dim"), f"{value:>7} ", (f"{bar:<{spark}}  ", "blue")
                )
            )
        lines.append(line)

    pairs("loss", *((n.upper(), metrics["loss", n], ".3f") for n in ("d", "g")))
    pairs("logits", *((n, metrics["logits", n], ".3f") for n in ("real", "fake")))
    judged = [
        (n.replace("_", "-"), spectra["accuracy", n], ".0%") for n in ("train", "held_out", "fake")
    ]
    pairs("D is right", *judged, bars=False)
    kinds = spectra.below("diversity")
    pairs("diversity", *((kind, spectra["diversity", kind], ".3f") for kind in kinds))
    for key, label in (("proxy_fid", "proxy FID"), ("fid", "FID")):
        if spectra[key]:
            lines.append(_quality(label, spectra[key], spectra[f"{key}_real"], spark))
    if spectra["monitor_s"]:
        lines.append(_cost(run))
    if run.unreadable:
        rows = "row" if run.unreadable == 1 else "rows"
        lines.append(Text(f"{run.unreadable:,} unreadable {rows} passed over", "yellow"))
    return lines


def _quality(label: str, column: Column, real: Column, spark: int) -> Text:
    line = Text.assemble((f"{label:<{_LABEL}}", "bold"))
    line.append(f"{'now':<{_NAME}} {column.values[-1]:>7.4g} ", "")
    lowest = column.lowest()
    # The first values are far off, and would hide how the later ones move.
    shown = [min(value, _FAR * lowest[1]) if lowest else value for value in column.values]
    line.append(f"{sparkline(column.itrs, shown, spark)}  ", "blue")
    if lowest:
        line.append(f"best {lowest[1]:.4g} at {lowest[0]:,.0f}")
    if real:
        line.append(f", real {real.values[-1]:.3g}")
    return line


def _cost(run: ObservedRun) -> Text:
    ticks = run.spectra["monitor_s"]
    line = Text.assemble((f"{'monitor':<{_LABEL}}", "bold"))
    line.append(f"{1e3 * sum(ticks.values) / len(ticks.values):.3g} ms a tick", "")
    if (share := run.monitor_share) is not None:
        line.append(f", {share:.2%} of the time", "")
    line.append(f"; growth is over {GROWTH_TICKS} ticks", "dim")
    return line


def _events(events: list[dict[str, Any]]) -> list[Text]:
    """The newest first."""
    lines: list[Text] = []
    for event in events[: -_MOST_EVENTS - 1 : -1]:
        label = "" if lines else "events"
        lines.append(Text.assemble((f"{label:<{_LABEL}}", "bold"), event_text(event)))
    return lines


def event_text(event: dict[str, Any]) -> str:
    """One line of `events.jsonl` for a person."""
    itr = event.get("itr")
    where = f"iteration {itr:,}" if isinstance(itr, int) else "iteration unknown"
    if event.get("event") != "rollback":
        return f"{where}: {event.get('event', 'something happened')}"
    back = event.get("to_itr")
    changed = event.get("changed")
    text = f"{where}: rolled back to {back:,}" if isinstance(back, int) else f"{where}: rolled back"
    if isinstance(changed, dict) and changed:
        text += ", now " + ", ".join(f"{key}={value}" for key, value in changed.items())
    return text


def final_line(verdict: Verdict | None) -> str:
    """What is left on the terminal after watching."""
    return "nothing was seen" if verdict is None else f"iteration {verdict.itr:,}: {verdict}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
