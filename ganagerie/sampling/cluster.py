"""Making a set on a Ray cluster: its tasks compute, the caller's thread writes, in order.

Ray places the tasks, and repeats those whose process or machine is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Generator as Made
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

from ganagerie.local import make
from ganagerie.sampling.job import Job, plan_of
from server.requests import FinishedImage, Plan
from zoo.catalog import Catalog
from zoo.errors import BackendError, GanagerieError, one_line
from zoo.generator import Generator, load_generator
from zoo.runtime import CUDA, load_runtime

_AHEAD = 4  # tasks a core, or a GPU, that run or wait: enough that none waits for the disk
_ASK_S = 0.5  # how often, while a result is not there, it is asked whether to stop
_BATCHES = 8  # in a task: starting one costs Ray about a millisecond


def on_cluster(
    job: Job, zoo: Path, missing: Sequence[range], batch: int, stopped: Callable[[], bool]
) -> Made[list[FinishedImage]]:
    """Images, in order, as a cluster's tasks make them; left early, what is under way is dropped.

    The cluster is the one that RAY_ADDRESS names, or one that runs on this machine, or one that is
    started here for the purpose.

    Args:
        job: the set.
        zoo: folder of the models, under this path on each machine.
        missing: what the set lacks.
        batch: images that are made at a time.
        stopped: asked while a result is waited for; ends it.

    Raises:
        BackendError: Ray is not installed or its cluster is not there, it has no GPU where one is
            needed, a machine of it would make other bytes, or the images could not be made.
    """
    ray = _load_ray()
    with ExitStack() as stack:
        if not ray.is_initialized():
            _connect(ray)
            stack.callback(ray.shutdown)
        resource = "GPU" if job.provider == CUDA else "CPU"
        _require(ray, resource)
        task = ray.remote(_make).options(num_cpus=1, num_gpus=int(resource == "GPU"))
        waiting: deque[tuple[range, Any]] = deque()
        size = batch * _BATCHES
        for part in (p[i : i + size] for p in missing for i in range(0, len(p), size)):
            waiting.append((part, task.remote(job, zoo.resolve(), part, batch)))
            if len(waiting) >= _AHEAD * max(1, int(ray.cluster_resources().get(resource, 0))):
                if not _wait(ray, waiting[0][1], stopped):
                    return
                yield _result(ray, *waiting.popleft())
        while waiting and _wait(ray, waiting[0][1], stopped):
            yield _result(ray, *waiting.popleft())


def require_ray() -> None:
    """Raises BackendError where Ray is not installed."""
    _load_ray()


def _load_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise BackendError(
            "--ray needs Ray, which is not there: pip install 'ganagerie[ray]', or leave it out"
        ) from error
    return ray


def _connect(ray: Any) -> None:
    try:
        ray.init(configure_logging=False, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BackendError(
            f"no Ray cluster: {one_line(error)}; RAY_ADDRESS names one, without it one is started"
        ) from error


def _require(ray: Any, resource: str) -> None:
    if ray.cluster_resources().get(resource, 0) < 1:  # else Ray's tasks wait for ever
        instead = ", or leave out --device cuda" if resource == "GPU" else ""
        raise BackendError(
            f"the Ray cluster has no {resource}: add a machine that has one{instead}"
        )


def _wait(ray: Any, reference: Any, stopped: Callable[[], bool]) -> bool:
    """Whether there is a result, or the reason why there is none; False once `stopped`."""
    while not ray.wait([reference], timeout=_ASK_S)[0]:
        if stopped():
            return False
    return True


def _result(ray: Any, part: range, reference: Any) -> list[FinishedImage]:
    try:
        images: list[FinishedImage] = ray.get(reference)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, GanagerieError):
            raise cause from error
        raise BackendError(
            f"images {part.start} to {part.stop - 1} could not be made: {one_line(cause)}"
        ) from error
    return images


def _make(job: Job, zoo: Path, part: range, batch: int) -> list[FinishedImage]:
    plan, generator = _open(job, zoo)
    return [
        image
        for i in range(0, len(part), batch)
        for image in make(plan, generator, part[i : i + batch])
    ]


@lru_cache(maxsize=1)
def _open(job: Job, zoo: Path) -> tuple[Plan, Generator]:
    """In a process of the cluster: the model, if it is the one that the job means."""
    entry = Catalog.open(zoo).resolve(job.model)
    if entry.card.artifact.sha256 != job.sha256:
        raise BackendError(f"{job.model} is another model on a machine of the cluster: {zoo}")
    if (version := load_runtime().__version__) != job.onnxruntime:
        raise BackendError(
            f"a machine of the cluster has onnxruntime {version}, the set is made with "
            f"{job.onnxruntime}: install that one"
        )
    generator = load_generator(entry, "cuda" if job.provider == CUDA else "cpu")
    return plan_of(job, entry.card), generator
