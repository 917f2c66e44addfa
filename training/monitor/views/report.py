"""A page about a run, and its figures as a PNG: for people who were not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.colors import to_hex

from training.errors import RunError
from training.monitor.verdict import Health, Verdict
from training.monitor.views.figures import Marks, save_png, svg
from training.monitor.views.followed import Followed
from training.monitor.views.history import History
from training.monitor.views.moments import Grid, grids
from training.monitor.views.observed import ObservedRun
from training.monitor.views.panels import Panels, Section
from training.monitor.views.screen import event_text
from training.page import facts, page
from training.runlog import METRICS, ROLLBACKS, SPECTRA, write_text_atomically
from zoo.errors import one_line

_FEWEST_ROWS = 2  # of which a line can be drawn
_SMALL = 300  # pixels up to which a picture's own pixels are to be seen
_RECIPE = {
    "name": "recipe",
    "dataset": "data set",
    "network.architecture": "architecture",
    "loss": "loss",
    "batch_size": "batch",
    "d_steps": "D steps",
    "optimizer.g_lr": "learning rate of G",
    "optimizer.d_lr": "learning rate of D",
    "optimizer.betas": "Adam's betas",
    "penalties.r1_gamma": "R1 γ",
    "penalties.orthogonal": "orthogonal penalty",
    "penalties.sigma0_clamp": "σ₀ clamp",
    "diffaugment": "DiffAugment",
    "ema.decay": "average's decay",
    "precision": "precision",
    "seed": "seed",
    "monitor.on_collapse": "on a collapse",
}


def write_report(path: Path, out: Path | None = None) -> tuple[Path, Path]:
    """Writes the page, and its figures beside it.

    Args:
        path: a run directory, or a `spectra.jsonl` or CSV of anybody's run.
        out: the page, an `.html`; default `report.html` in the run directory, or `NAME-report.html`
            beside a file.

    Returns:
        The page and the PNG.

    Raises:
        RunError: there is too little to tell, or the page cannot be written.
    """
    run = ObservedRun(path)
    if out is None:
        out = path / "report.html" if run.is_folder else path.with_name(f"{path.stem}-report.html")
    if out.suffix not in {".html", ".htm"}:
        raise RunError(f"--out {out}: names the page, which ends in .html; the PNG goes beside it")
    run.poll()
    if run.spectra.rows < _FEWEST_ROWS:
        passed_over = f", {run.unreadable} cannot be read" if run.unreadable else ""
        raise RunError(
            f"{path}: {run.spectra.rows} usable row{'' if run.spectra.rows == 1 else 's'}"
            f"{passed_over}; a report needs {_FEWEST_ROWS} or more"
        )
    abandoned, rollbacks = _abandoned(run)
    sections, marks = Panels(run, abandoned).sections(), _marks(run, rollbacks)
    if not sections:
        raise RunError(f"{path}: its rows have an iteration and nothing that could be drawn")
    title = f"{run.name}: {run.verdict.health.value}" if run.verdict else run.name
    text = page(title, "\n".join(_body(run, sections, marks)))
    png = out.with_suffix(".png")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_png(png, title, sections, marks)
        write_text_atomically(out, text)
    except OSError as error:
        raise RunError(f"{out}: cannot be written: {one_line(error)}; use --out") from error
    return out, png


def _abandoned(run: ObservedRun) -> tuple[list[tuple[float, History]], list[float]]:
    """What rollbacks undid, from the iteration gone back to; and all such iterations."""
    back = [
        float(event["to_itr"])
        for event in run.events
        if event.get("event") == "rollback" and isinstance(event.get("to_itr"), int)
    ]
    undone = []
    for number, itr in enumerate(back, 1):
        folder = run.path / ROLLBACKS / f"{number:02d}"
        name = SPECTRA if (folder / SPECTRA).is_file() else METRICS
        kept = Followed(folder / name)
        kept.poll()
        undone.append((itr, kept.history))
    return undone, back


def _marks(run: ObservedRun, rollbacks: Sequence[float]) -> Marks:
    last = float(run.itr)
    ends = [*(float(verdict.itr) for verdict in run.changes[1:]), last]
    bands = [
        (float(verdict.itr), end, verdict.health)
        for verdict, end in zip(run.changes, ends, strict=True)
        if verdict.health is not Health.healthy
    ]
    return Marks(bands, rollbacks, (float(run.changes[0].itr), last))


def _body(run: ObservedRun, sections: Sequence[Section], marks: Marks) -> Iterator[str]:
    yield f"<h1>{escape(run.name)}</h1>"
    if run.verdict is not None:
        yield _verdict(run.verdict)
    yield facts([*_facts(run), *_recipe(run.recipe)])
    if shown := grids(run):
        yield "<h2>Samples at the moments that mattered</h2>"
        yield f'<div class="grids">{"".join(map(_figure, shown))}</div>'
    yield from _legend(marks)
    for section in sections:
        yield f"<h2>{escape(section.title)}</h2>"
        drawn = (
            f'<figure role="img" aria-label="{escape(panel.title)}">{svg(panel, marks)}</figure>'
            for panel in section.panels
        )
        yield f'<div class="panels">{"".join(drawn)}</div>'
        if section.layers:
            names = (
                f'<li><i style="background:{to_hex(colour)}"></i>{escape(name)}</li>'
                for name, colour in section.layers
            )
            yield f'<ul class="legend">{"".join(names)}</ul>'
    yield from _story(run)


def _verdict(verdict: Verdict) -> str:
    since = f" since iteration {verdict.since:,}" if verdict.since is not None else ""
    reasons = "".join(f"<li>{escape(str(reason))}</li>" for reason in verdict.reasons)
    told = f"<ul>{reasons}</ul>" if reasons else ""
    health = verdict.health.value
    return f'<div class="verdict"><span class="badge {health}">{health}</span>{since}{told}</div>'


def _facts(run: ObservedRun) -> Iterator[tuple[str, str]]:
    total = run.total_itr
    yield "iterations", f"{run.itr:,}" + (f" of {total:,}" if total is not None else "")
    if seen := run.metrics["images_seen"].newest:
        yield "images seen", f"{seen:,.0f}"
    for key, name in (("proxy_fid", "proxy FID"), ("fid", "FID")):
        column = run.spectra[key]
        if lowest := column.lowest():
            yield f"best {name}", f"{lowest[1]:.4g} at {lowest[0]:,.0f}"
            yield f"last {name}", f"{column.values[-1]:.4g}"
        if real := run.spectra[f"{key}_real"].newest:
            yield f"{name} of real images", f"{real:.4g}"
    if ticks := run.spectra["monitor_s"]:
        mean_ms = 1e3 * sum(ticks.values) / len(ticks.values)
        share = run.monitor_share
        yield (
            "the monitor took",
            f"{mean_ms:.3g} ms a tick" + (f", {share:.2%} of the time" if share else ""),
        )
    yield "rows read", f"{run.spectra.rows:,}"
    if run.unreadable:
        yield "rows passed over", f"{run.unreadable:,}"


def _recipe(recipe: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a reader wants to know first; what is off is left out."""
    for key, label in _RECIPE.items():
        value: Any = recipe
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, dict):
            value = ", ".join(f"{name} {what}" for name, what in value.items())
        if value is None or (value in (0.0, []) and key != "seed"):
            continue
        yield label, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _figure(grid: Grid) -> str:
    small = ' class="small"' if grid.width <= _SMALL else ""
    what = f"Samples at iteration {grid.itr:,}"
    return (
        f'<figure><img{small} src="{grid.uri}" width="{grid.width}" height="{grid.height}" '
        f'alt="{what}"><figcaption><b>{what}</b><br>{escape("; ".join(grid.moments))}'
        "</figcaption></figure>"
    )


def _legend(marks: Marks) -> Iterator[str]:
    healths = dict.fromkeys(health.value for _, _, health in marks.bands)
    words = [f'<span class="band {health}">{health}</span>' for health in healths]
    if words:
        yield f'<p class="note">Behind the figures, the verdict: {" ".join(words)}</p>'
    if marks.rollbacks:
        yield (
            '<p class="note">A broken upright line and ↶ are where the run was rolled back to; '
            "dashed lines are what was undone.</p>"
        )


def _story(run: ObservedRun) -> Iterator[str]:
    """Verdicts and events, in the order of iterations."""
    if len(run.changes) > 1 or run.events:
        yield "<h2>What happened</h2>"
        rows = [(verdict.itr, str(verdict)) for verdict in run.changes]
        told = [(event.get("itr"), event_text(event)) for event in run.events]
        rows += [(itr, text) for itr, text in told if isinstance(itr, int)]
        cells = (
            f"<tr><td>{itr:,}</td><td>{escape(text)}</td></tr>"
            for itr, text in sorted(rows, key=lambda row: row[0])
        )
        yield f"<table><tr><th>iteration</th><th></th></tr>{''.join(cells)}</table>"
