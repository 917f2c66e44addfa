"""Making a set: several threads compute, the caller's writes, in order.

`ganagerie/sampling/cluster.py` computes elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Generator as Made
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

from ganagerie.errors import OutputError
from ganagerie.local import make
from ganagerie.sampling.layout import Layout
from server.requests import FinishedImage, Plan
from zoo.errors import BackendError, GanagerieError, one_line
from zoo.generator import Generator

_AHEAD = 4  # batches a thread that wait to be written: enough that no thread waits for the disk


def fill(
    layout: Layout,
    made: Made[list[FinishedImage]],
    *,
    stopped: Callable[[], bool],
    wrote: Callable[[int], None],
    output: str,
) -> int:
    """Makes what is missing, until that is done or `stopped` says so; returns how many it added.

    Args:
        layout: the set.
        made: what it lacks, some at a time, in order; closed in the end.
        stopped: asked before each batch is written.
        wrote: told how many images each batch had.
        output: the set as a person named it.

    Raises:
        OutputError: the disk does not take them; what it took is kept.
        GanagerieError: what making them raises.
    """
    total = 0
    try:
        try:
            with closing(made):
                for images in made:
                    if stopped():
                        break
                    layout.write(images)
                    total += len(images)
                    wrote(len(images))
        finally:
            total -= layout.close()
    except OSError as error:
        raise OutputError(
            f"cannot write {output}: {error.strerror or one_line(error)}; what was written "
            "before is kept: make room, and the same command goes on from there"
        ) from error
    return total


def in_threads(
    missing: Sequence[range], plan: Plan, generator: Generator, threads: int, batch: int
) -> Made[list[FinishedImage]]:
    """Images, in order, as threads of this process make them.

    Args:
        missing: what the set lacks.
        plan: of all its images.
        generator: makes them.
        threads: that compute.
        batch: images that one thread makes at a time.

    Raises:
        BackendError: onnxruntime failed.
    """
    waiting: deque[tuple[range, Future[list[FinishedImage]]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="sample")
    try:
        for part in (p[i : i + batch] for p in missing for i in range(0, len(p), batch)):
            waiting.append((part, pool.submit(make, plan, generator, part)))
            if len(waiting) >= _AHEAD * threads:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _result(part: range, future: Future[list[FinishedImage]]) -> list[FinishedImage]:
    try:
        return future.result()
    except GanagerieError:
        raise
    except Exception as error:  # onnxruntime has a type for each of its codes, with no common root
        raise BackendError(
            f"images {part.start} to {part.stop - 1} could not be made: {one_line(error)}"
        ) from error
