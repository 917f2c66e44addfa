"""`ganagerie train`: train a recipe, watch it, stop it, go on with it."""

from __future__ import annotations

import contextlib
import datetime
import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
Examples:

  ganagerie train dcgan-emnist --dry-run

  ganagerie train dcgan-emnist --data data --download --out runs/letters

  ganagerie train dcgan-emnist --out runs/letters --resume --set epochs=40

  ganagerie train biggan-emnist --data data --set precision=fp32

  ganagerie train biggan-cifar10 --data flowers.zip --out runs/flowers

  ganagerie train dcgan-emnist --metrics-port 9400

  ganagerie train my-recipe.yaml --set optimizer.g_lr=1e-4 --set seed=7

  torchrun --nproc-per-node 8 -m ganagerie.cli train biggan-imagenet128 --data im.zip --out runs/im
"""


class Device(StrEnum):
    """Where to train."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class OnCollapse(StrEnum):
    """What follows a collapse."""

    warn = "warn"
    stop = "stop"
    rollback = "rollback"


def train(
    recipe: Annotated[
        str, typer.Argument(help="Name of a recipe (dcgan-emnist), or the path of a .yaml file.")
    ],
    data: Annotated[
        Path,
        typer.Option(
            envvar="GANAGERIE_DATA",
            help="Folder of the data sets (EMNIST/, cifar-10-batches-py/), or images of your own: "
            "a folder or .zip of CLASS/FILE, of FILE alone, of train/CLASS/FILE, or with "
            "StyleGAN's dataset.json.",
        ),
    ] = Path("data"),
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run directory; under torchrun it must be named.",
            show_default="runs/RECIPE-DATE-TIME",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in --out from its newest checkpoint; on a CPU, with as many "
            "threads as before, to the very weights of an uninterrupted run.",
        ),
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a value of the recipe; may be repeated."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")
    ] = False,
    download: Annotated[
        bool,
        typer.Option("--download", help="Fetch a named data set through torchvision if missing."),
    ] = False,
    device: Annotated[Device, typer.Option(help="Where to train.")] = Device.auto,
    on_collapse: Annotated[
        OnCollapse | None,
        typer.Option(
            help="What follows when the monitor says that the run has collapsed: go on, stop and "
            "keep everything, or go back to the checkpoint from before the first sign, change the "
            "recipe as monitor.remedies says, and try again.",
            show_default="stop",
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="Answer Prometheus at this port while training; 0: any free one.",
            show_default="off",
        ),
    ] = None,
    metrics_host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Where that port listens; 0.0.0.0 for all, as in a container. Anybody who "
            "reaches it can read the gauges.",
        ),
    ] = "127.0.0.1",
) -> None:
    """Train a recipe.

    Writes config.yaml, metrics.jsonl, TensorBoard events, samples/*.png and checkpoints/ to the run
    directory. Ctrl-C or SIGTERM saves a checkpoint and exits with code 0; a second one exits at
    once. Then: ganagerie publish RUN --name NAME.
    """
    from ganagerie.training_extra import require_training

    require_training("train")

    from training.config import load_recipe, task_of
    from training.data import dataset_at, load_dataset, load_held_out
    from training.errors import RunError
    from training.launch import launch, resolve_device
    from training.monitor.exporter import TrainingGauges
    from training.runlog import read_recipe

    overrides = list(overrides or [])
    if on_collapse is not None:
        overrides.append(f"monitor.on_collapse={on_collapse.value}")
    if task_of(recipe) == "classifier":
        if resume:
            raise RunError("--resume: a classifier takes minutes and starts from the beginning")
        if metrics_port is not None:
            raise RunError("--metrics-port: a classifier has no gauges; leave it out")
        _train_classifier(recipe, data, out, overrides, dry_run, download, device)
        return
    chosen = load_recipe(recipe, overrides)
    if resume:
        if out is None:
            raise RunError("--resume needs --out: the run directory to go on with")
        name = chosen.name
        chosen = read_recipe(out, overrides)
        if chosen.name != name:
            raise RunError(f"--resume: {out} is a run of {chosen.name!r}, not of {name!r}")
    if not dry_run:
        _check_processes(recipe, data, out, download)
        used = dataset_at(chosen.dataset, data, download=download)
        chosen = chosen.model_copy(update={"dataset": used})
    leads = os.environ.get("RANK", "0") == "0"  # one of the processes that torchrun starts
    if leads:
        typer.echo(chosen.to_yaml(), nl=False)
    if dry_run:
        return
    where = resolve_device(device)
    resolution = chosen.network.resolution
    images = load_dataset(chosen.dataset, data, resolution=resolution, download=download)
    folder = out or Path("runs") / f"{chosen.name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    if leads:
        typer.echo(
            f"training {chosen.name} on {len(images):,} images, {where}; run in {folder}", err=True
        )
    with contextlib.ExitStack() as stack:
        gauges = None
        if metrics_port is not None and leads:
            gauges = stack.enter_context(TrainingGauges(metrics_port, metrics_host))
            typer.echo(f"metrics on http://{metrics_host}:{gauges.port}/metrics", err=True)
        outcome = launch(
            chosen,
            images,
            folder,
            held_out=load_held_out(chosen.dataset, data, resolution=resolution),
            resume=resume,
            device=where,
            command=["ganagerie", *sys.argv[1:]],
            gauges=gauges,
        )
    if not leads:
        return
    if outcome.finished:
        typer.echo(f"finished after {outcome.itr:,} iterations: {folder}", err=True)
    else:
        typer.echo(
            f"stopped at iteration {outcome.itr:,} of {outcome.total:,}, saved. Go on with:\n"
            f"  {_resume_command(recipe, data, folder, device)}",
            err=True,
        )


def _check_processes(recipe: str, data: Path, out: Path | None, download: bool) -> None:
    """What several processes that torchrun starts cannot do.

    Raises:
        RunError: each would have a run directory of its own, or download into one folder.
    """
    from training.errors import RunError

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        return
    if out is None:
        raise RunError(f"{processes} processes share one run directory: name it with --out")
    if download:
        words = ["ganagerie", "train", recipe, "--data", str(data), "--download"]
        raise RunError(
            f"--download: {processes} processes would write the same files at once; fetch them "
            f"first, in one process: {shlex.join([*words, '--set', 'max_itr=1'])}"
        )


def _train_classifier(
    name: str,
    data: Path,
    out: Path | None,
    overrides: list[str],
    dry_run: bool,
    download: bool,
    device: Device,
) -> None:
    from training.classifier import CLASSIFIER, ClassifierRecipe, train_classifier
    from training.config import load_as
    from training.data import load_emnist
    from training.launch import resolve_device

    chosen = load_as(ClassifierRecipe, name, overrides)
    typer.echo(chosen.to_yaml(), nl=False)
    if dry_run:
        return
    where = resolve_device(device)
    images = load_emnist(data, download=download)
    test = load_emnist(data, train=False, download=download)
    folder = out or Path("runs") / f"{chosen.name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    typer.echo(
        f"training {chosen.name} on {len(images):,} images, {where}; run in {folder}", err=True
    )
    trained = train_classifier(chosen, images, test, folder, where)
    if trained is None:
        typer.echo("stopped before the first epoch was complete: nothing was saved", err=True)
        return
    typer.echo(
        f"{trained.epochs} of {chosen.epochs} epochs, test accuracy {trained.test_accuracy:.2%} "
        f"of {trained.test_samples:,} images: {folder / CLASSIFIER}",
        err=True,
    )


def _resume_command(recipe: str, data: Path, out: Path, device: Device) -> str:
    words, processes = ["ganagerie"], os.environ.get("WORLD_SIZE", "1")
    if processes != "1":
        here = os.environ.get("LOCAL_WORLD_SIZE", processes)
        words = ["torchrun", "--nproc-per-node", here, "-m", "ganagerie.cli"]
    words += ["train", recipe, "--data", str(data), "--out", str(out), "--resume"]
    if device is not Device.auto:
        words += ["--device", device.value]
    return shlex.join(words)
