"""The examination: all is looked at, whatever fails, and what fails is a problem with a fix."""

from __future__ import annotations

import math
import platform
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ganagerie.doctor import machine, models, providers
from ganagerie.doctor.report import Agreement, Machine, ModelCheck, Problem, ProviderState, Report
from ganagerie.version import __version__
from zoo.artifact import read_artifact
from zoo.catalog import Catalog, Entry
from zoo.errors import ArtifactError, BackendError, ZooError
from zoo.runtime import CUDA, Device, load_runtime
from zoo.trusted_graph import check_graph

MOST_APART = 2  # grey levels that a GPU's image may differ from the CPU's
_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "numpy", "scipy", "pillow", "isal", "grpcio")
_OPTIONAL = ("protobuf", "pydantic", "torch")
_REINSTALL = "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'ganagerie[{}]'"


def examine(zoo: Path, device: Device) -> Report:
    """Looks at the machine, onnxruntime and every model of a zoo.

    Args:
        zoo: the zoo's folder.
        device: `cpu`; `cuda`, without which there is a problem; or `auto`: CUDA too if it loads.
    """
    here = machine.look()
    packages = providers.installed(*_PACKAGES, *_OPTIONAL)
    problems = [*_package_problems(packages, here)]
    entries = _entries(zoo, problems)
    runtime = _has_runtime(problems)
    found = _providers(entries) if runtime else []
    cuda_loads = any(state.name == CUDA and state.loads for state in found)
    problems += _cuda_problems(device, found, here)
    devices: list[Literal["cpu", "cuda"]] = ["cpu"]
    if cuda_loads and device != "cpu":
        devices.append("cuda")
    checks: list[ModelCheck] = []
    agreement: list[Agreement] = []
    for entry in entries if runtime else []:
        images: list[NDArray[np.uint8]] = []
        for where in devices:
            check, made = models.check(entry, where)
            checks.append(check)
            images += [] if made is None else [made]
        if len(images) > 1:
            agreement.append(models.compare(entry.card, *images))
    problems += _model_problems(checks, agreement)
    return Report(
        ok=not problems,
        version=__version__,
        python=platform.python_version(),
        system=platform.platform(),
        packages=packages,
        machine=here,
        providers=tuple(found),
        models=tuple(checks),
        agreement=tuple(agreement),
        notes=tuple(_notes(here)),
        problems=tuple(problems),
    )


def _package_problems(packages: dict[str, str | None], here: Machine) -> list[Problem]:
    if packages["onnxruntime"] and packages["onnxruntime-gpu"]:
        return [
            Problem(
                problem="onnxruntime and onnxruntime-gpu are both installed: one module",
                fix=_REINSTALL.format("gpu" if here.gpus else "cpu"),
            )
        ]
    return []


def _entries(zoo: Path, problems: list[Problem]) -> list[Entry]:
    try:
        catalog = Catalog.open(zoo)
    except ZooError as error:
        problems.append(Problem(problem=str(error), fix="name a zoo's folder with --zoo"))
        return []
    for reason in catalog.broken.values():
        problems.append(Problem(problem=reason, fix="mend the card, or fetch the model again"))
    if not catalog.entries:
        problems.append(
            Problem(problem=f"zoo {zoo}: holds no model that can be used", fix="name another --zoo")
        )
    return catalog.entries


def _has_runtime(problems: list[Problem]) -> bool:
    try:
        load_runtime()
    except BackendError:
        fix = "pip install 'ganagerie[cpu]', or 'ganagerie[gpu]' for CUDA"
        problems.append(Problem(problem="onnxruntime is not installed", fix=fix))
        return False
    return True


def _providers(entries: list[Entry]) -> list[ProviderState]:
    for entry in entries:
        try:
            content = read_artifact(entry.folder, entry.card.artifact)
            check_graph(entry.folder / entry.card.artifact.file, content)
        except ArtifactError:
            continue  # told where the model is checked
        return providers.states(content)
    return []


def _cuda_problems(device: Device, found: list[ProviderState], here: Machine) -> list[Problem]:
    cuda = next((state for state in found if state.name == CUDA), None)
    if device == "cpu" or cuda is None or cuda.loads or not (device == "cuda" or here.gpus):
        return []
    told = f"{CUDA} does not load: {cuda.reason}"
    if device != "cuda":
        told = f"there is a GPU ({here.gpus[0].name}) that is not used: {told}"
    if not here.gpus:
        fix = "nvidia-smi shows no GPU: check the driver (in a container: --gpus all); {}"
    elif cuda.reason == providers.NOT_BUILT:
        fix = _REINSTALL.format("gpu") + "; {}"
    else:
        fix = "install the CUDA and cuDNN libraries that this onnxruntime asks for; {}"
    return [Problem(problem=told, fix=fix.format("or use --device cpu"))]


def _model_problems(checks: list[ModelCheck], agreement: list[Agreement]) -> list[Problem]:
    problems = [
        Problem(
            problem=f"{check.model} on {check.device}: {check.error}",
            fix="fetch the model again, or publish it again",
        )
        for check in checks
        if check.error
    ]
    problems += [
        Problem(
            problem=f"{pair.model}: cuda and cpu are {pair.largest_difference} grey levels apart, "
            f"at most {MOST_APART} are expected",
            fix="serve it with --device cpu",
        )
        for pair in agreement
        if pair.largest_difference > MOST_APART
    ]
    return problems


def _notes(here: Machine) -> list[str]:
    """What is no problem, but good to know."""
    if here.core_limit is not None and here.core_limit < here.cores:
        runners = max(1, math.floor(here.core_limit))
        return [
            f"{here.cores} cores are visible, but the control group allows the time of "
            f"{here.core_limit:g}: ganagerie serve --runners {runners}"
        ]
    return []
