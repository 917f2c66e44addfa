"""The report as a person reads it."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ganagerie.doctor.models import BATCHES
from ganagerie.doctor.report import ModelCheck, Report


def show(report: Report, console: Console) -> None:
    """Prints it."""
    packages = ", ".join(f"{name} {v}" for name, v in report.packages.items() if v)
    here = report.machine
    limit = "" if here.core_limit is None else f", time of {here.core_limit:g}"
    memory = f"{here.memory_mib / 1024:.1f} GiB"
    if here.memory_limit_mib is not None:
        memory += f", limited to {here.memory_limit_mib / 1024:.1f}"
    gpus = [
        f"{gpu.name}, {'?' if gpu.memory_mib is None else gpu.memory_mib} MiB, driver {gpu.driver}"
        for gpu in here.gpus
    ]
    facts = {
        "ganagerie": f"{report.version}, Python {report.python}, {report.system}",
        "packages": packages,
        "processor": f"{here.processor}: {here.cores} usable cores{limit}",
        "memory": memory,
        "GPUs": "; ".join(gpus) or "none (by nvidia-smi)",
    }
    facts |= {
        state.name: "loads" if state.loads else f"does not load: {state.reason}"
        for state in report.providers
    }
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in facts.items():
        table.add_row(Text(name, "bold"), Text(fact))
    console.print(table)
    if report.models:
        console.print(_models(report))
    for pair in report.agreement:
        console.print(
            f"{pair.model}: cuda and cpu at most {pair.largest_difference} grey levels apart in "
            f"{pair.images} images, {pair.differing_pixels:.4%} of pixels differ",
            markup=False,
            highlight=False,
        )
    for note in report.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    for problem in report.problems:
        console.print(f"PROBLEM: {problem.problem}\n    fix: {problem.fix}", markup=False)
    if report.ok:
        console.print("all is well", highlight=False)


def _models(report: Report) -> Table:
    table = Table(box=SIMPLE, title="images/s by size of batch, one thread", title_justify="left")
    for heading in ("model", "device", "seed 0", "load ms", *map(str, BATCHES)):
        table.add_column(
            heading, overflow="fold", justify="left" if heading[0].isalpha() else "right"
        )
    for check in report.models:
        table.add_row(*map(Text, _cells(check)))
    return table


def _cells(check: ModelCheck) -> list[str]:
    if check.levels is None:
        return [check.model, check.device, "fails", "-", *("-" for _ in BATCHES)]
    low, high = check.levels
    speeds = [f"{check.images_per_s[batch]:,.0f}" for batch in BATCHES]
    return [check.model, check.device, f"{low}..{high}", f"{check.load_ms:.0f}", *speeds]
