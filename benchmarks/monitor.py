"""What the collapse monitor costs: `python -m benchmarks.monitor`.

For each recipe, at its default intervals: the time of a training iteration, of a tick (spectra,
gradients, updates) and of a look (samples against real images), in turns in one run; the share of
training time that follows; how exact the singular values are; and what it keeps in memory.
`--device cuda` measures on a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.machine import describe
from benchmarks.training_step import images, small_recipe
from training.batches import BatchSource
from training.config import Recipe
from training.guard import Guard
from training.launch import resolve_device
from training.monitor.spectra import Spectra, worst_errors
from training.networks import pixel_range, subject_of
from training.runlog import RunLog
from training.state import TrainingState

_RECIPES = ("dcgan-emnist", "biggan-emnist", "biggan-cifar10")
_BETWEEN = 5  # iterations between two ticks here; vectors are colder after a recipe's 50


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8, help="ticks of each recipe")
    parser.add_argument("recipes", nargs="*", default=_RECIPES)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    asked = parser.parse_args()
    device = resolve_device(asked.device)
    on = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{describe()}, torch {torch.__version__} on {on}")
    print()
    print(
        "| recipe | iteration, ms | tick, ms | look, ms | share of time | worst error of sigma0 | "
        "of sigma1, sigma2 | vectors, MiB | weights copied, MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in asked.recipes:
        recipe = small_recipe(name, device, "monitor.on_collapse=warn")
        with tempfile.TemporaryDirectory() as folder, RunLog(Path(folder), recipe, None) as log:
            print(_row(recipe, log, asked.rounds, device), flush=True)


def _row(recipe: Recipe, log: RunLog, rounds: int, device: torch.device) -> str:
    data, config = images(recipe), recipe.monitor
    state = TrainingState(recipe, device, subject_of(data))
    source = BatchSource(recipe, data, pixel_range(state.generator), device)
    guard = Guard(state, data, data, log)
    audited = [Spectra(network) for network in (state.generator, state.discriminator)]
    outcome = {key: torch.zeros(()) for key in ("loss_d", "loss_g", "real", "fake")}
    steps: list[float] = []
    ticks: list[float] = []
    looks: list[float] = []
    errors = []
    # A GPU goes on computing when a call has returned.
    wait: Callable[[], object] = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def observe(itr: int) -> float:
        """Time of the monitor after iteration `itr`, as it counts them."""
        state.itr, kept = itr, state.itr
        began = time.perf_counter()
        guard.observe(outcome, 0, look=False)
        wait()
        spent = time.perf_counter() - began
        state.itr = kept
        return spent

    for number in range(1, rounds + 1):
        for _ in range(_BETWEEN):
            draw = source.draw(state.itr)
            wait()
            began = time.perf_counter()
            state.step(draw)
            wait()
            steps.append(time.perf_counter() - began)
            state.itr += 1
        tick = config.every * number
        ticks.append(observe(tick - 1) + observe(tick))
        began = time.perf_counter()
        guard.monitor.observe(tick, look=True)
        wait()
        looks.append(time.perf_counter() - began - ticks[-1])
        errors.append([worst_errors(it.tick(), it.exact()) for it in audited])
    warm = errors[2:] or errors
    worst = [max(e.get(f"sigma{i}", 0.0) for pair in warm for e in pair) for i in range(3)]
    step, tick_s, look = (statistics.median(times[1:]) for times in (steps, ticks, looks))
    share = (tick_s / config.every + look / config.look_every) / step
    parameters = [*state.generator.parameters(), *state.discriminator.parameters()]
    vectors = [v for it in audited for v in it.state_dict()["vectors"].values()]
    cells = (
        *(recipe.name, f"{step * 1e3:.0f}", f"{tick_s * 1e3:.0f}", f"{look * 1e3:.0f}"),
        *(f"{share:.2%}", f"{worst[0]:.3%}", f"{max(worst[1:]):.3%}"),
        *(f"{_mib(vectors):.1f}", f"{_mib(parameters):.1f}"),
    )
    return f"| {' | '.join(cells)} |"


def _mib(tensors: list[torch.nn.Parameter] | list[torch.Tensor]) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20


if __name__ == "__main__":
    main()
