"""`ganagerie sample`: many images of one model, as a set on disk."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganagerie.commands.generate import Mode
from zoo.catalog import BUNDLED

if TYPE_CHECKING:  # imported when the command runs
    from zoo.generator import Generator

EXAMPLES = """
Examples:

  ganagerie sample dcgan-emnist -n 50000 -o letters/

  ganagerie sample biggan-emnist -n 50000 --truncation 0.8 -o letters.zip

  ganagerie sample biggan-emnist -n 10000 --class A --seed 100000 -o a.tar

  ganagerie sample biggan-emnist@1.0.1 -n 50000 --prior -o prior/

  RAY_ADDRESS=head:6379 ganagerie sample biggan-emnist -n 1000000 --ray -o all.tar
"""

_STOPPING = "stopping: finishing what is in hand (press Ctrl-C again to exit at once)"
_STOPPED = 130  # as shells have it for Ctrl-C: the set is not complete
_SWITCH_INTERVAL_S = 1e-4  # as the server: a thread that comes back wants the GIL at once


class Device(StrEnum):
    """What runs the model."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def sample(
    model: Annotated[str, typer.Argument(help="name, or name@version")],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="DIR/: CLASS/000123.png (000123.png without classes). NAME.zip: the same in one "
            "archive. NAME.tar: shards of 1,000, NAME-000000.tar and on, as webdataset reads them.",
        ),
    ],
    count: Annotated[int, typer.Option("--count", "-n", help="How many images.")],
    class_name: Annotated[
        str | None,
        typer.Option("--class", help="This class only.", show_default="as many of each"),
    ] = None,
    prior: Annotated[
        bool, typer.Option("--prior", help="Draw each image's class from its seed instead.")
    ] = False,
    truncation: Annotated[
        float | None, typer.Option(help="Truncation threshold; lower is more typical, less varied.")
    ] = None,
    truncation_mode: Annotated[Mode, typer.Option(help="What the threshold means.")] = (
        Mode.threshold
    ),
    seed: Annotated[int, typer.Option(help="Image i has seed SEED + i.")] = 0,
    device: Annotated[Device, typer.Option(help="What runs the model.")] = Device.auto,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Threads that compute, on a CPU.", show_default="usable cores"
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=4096, help="Images that a thread makes at a time.")
    ] = 64,
    ray: Annotated[
        bool,
        typer.Option(
            "--ray",
            help="Compute on a Ray cluster: that of RAY_ADDRESS, else one on this machine. A task "
            "has one core, or with --device cuda one GPU.",
        ),
    ] = False,
    zoo: Annotated[
        Path,
        typer.Option(envvar="GANAGERIE_ZOO", help="Zoo folder.", show_default="the bundled zoo"),
    ] = BUNDLED,
) -> None:
    """Make a set of images, such as the 50,000 that a FID takes.

    The same settings give the same bytes, whatever the number of threads. What ends it does not
    end the set: the same command goes on where it stopped. Exit code 130 if it was stopped.
    """
    from ganagerie.errors import OutputError
    from ganagerie.sampling.cluster import on_cluster, require_ray
    from ganagerie.sampling.job import Job, classes_of, plan_of
    from ganagerie.sampling.output import layout_of, open_layout, record_of
    from ganagerie.sampling.record import hold
    from ganagerie.sampling.run import fill, in_threads
    from training.stopping import StopRequest
    from zoo.catalog import Catalog
    from zoo.errors import InvalidRequest
    from zoo.generator import load_generator
    from zoo.runtime import CPU, CUDA, load_runtime

    if ray and threads is not None:
        raise InvalidRequest("--threads", "leave it out with --ray, which uses the whole cluster")
    entry = Catalog.open(zoo).resolve(model)
    if ray:
        require_ray()
        generator, provider = None, CUDA if device is Device.cuda else CPU
    else:
        generator = load_generator(entry, device.value)
        provider = generator.provider
    job = Job(
        model=entry.card.reference,
        sha256=entry.card.artifact.sha256,
        count=count,
        seed=seed,
        classes=classes_of(entry.card, class_name, prior),
        class_name=class_name,
        truncation=truncation,
        truncation_mode=truncation_mode.value,
        layout=layout_of(output),
        provider=provider,
        onnxruntime=load_runtime().__version__,
    )
    plan = plan_of(job, entry.card)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold(record_of(output), job, output))
            layout = open_layout(output, job, plan, entry.card)
            missing = list(layout.missing())
        except OSError as error:
            raise OutputError(f"cannot write {output}: {error.strerror}") from error
        todo = sum(map(len, missing))
        stop = stack.enter_context(StopRequest(_STOPPING))
        advance = stack.enter_context(_bar(count, count - todo))
        started_s = time.perf_counter()

        def stopped() -> bool:
            return stop.requested

        images = (
            in_threads(missing, plan, generator, _callers(generator, threads), batch)
            if generator
            else on_cluster(job, zoo, missing, batch, stopped)
        )
        made = fill(
            layout,
            images,
            stopped=stopped,
            wrote=advance,
            output=output,
        )
        took_s = time.perf_counter() - started_s
    speed = f"{made:,} made now, {made / took_s:,.0f} images/s" if todo else "all were there"
    if made < todo:
        typer.echo(
            f"stopped: {count - todo + made:,} of {count:,} images are in {output} ({speed}); "
            "the same command goes on from there",
            err=True,
        )
        raise typer.Exit(_STOPPED)
    seeds = f"seed {seed} to {seed + count - 1}"
    typer.echo(f"{count:,} of {job.model}, {seeds}: {output} ({speed})", err=True)


def _callers(generator: Generator, threads: int | None) -> int:
    from zoo.runtime import CPU

    # A GPU's lane has one caller at a time; a CPU's session, as it is opened here, any number.
    if generator.provider != CPU:
        return generator.execution.lanes
    return threads or len(os.sched_getaffinity(0))


@contextmanager
def _bar(count: int, done: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; what it yields is told how many images are new."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.speed:,.0f}/s"), Remaining())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("sampling", total=count, completed=done)
        yield lambda images: bar.advance(task, images)
