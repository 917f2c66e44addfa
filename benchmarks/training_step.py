"""The GAN step against a plain implementation of it: `python -m benchmarks.training_step`.

Plain is what a first version looks like: torch's default memory layout, Adam without fusing, and a
second forward pass of the generator for its own update. Measured in turns, several rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.machine import describe
from training.config import Recipe, load_recipe
from training.data import noise
from training.losses import discriminator_loss, generator_loss
from training.state import TrainingState
from zoo.nets import dcgan

_WARM_UP, _STEPS = 2, 6

Step = Callable[[Tensor, Tensor], object]


def _plain(recipe: Recipe) -> Step:
    generator, discriminator = dcgan.Generator(), dcgan.Discriminator()
    g_optimizer = torch.optim.Adam(generator.parameters(), 2e-4, (0.5, 0.999), foreach=False)
    d_optimizer = torch.optim.Adam(discriminator.parameters(), 2e-4, (0.5, 0.999), foreach=False)

    def step(real: Tensor, z: Tensor) -> None:
        d_optimizer.zero_grad()
        fake = generator(z).detach()
        loss = discriminator_loss(discriminator(real), discriminator(fake))
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        d_optimizer.step()
        g_optimizer.zero_grad()
        loss = generator_loss(discriminator(generator(z)))
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        g_optimizer.step()

    return step


def _images_per_s(step: Step, recipe: Recipe) -> float:
    real = torch.rand(recipe.batch_size, 1, dcgan.SIDE, dcgan.SIDE)
    z = noise(recipe.seed, 0, recipe.batch_size, recipe.network.z_dim)
    for _ in range(_WARM_UP):
        step(real, z)
    start_s = time.perf_counter()
    for _ in range(_STEPS):
        step(real, z)
    return _STEPS * recipe.batch_size / (time.perf_counter() - start_s)


def main() -> None:
    """Measures and prints a table for docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    fp32, bf16 = (load_recipe("dcgan-emnist", [f"precision={p}"]) for p in ("fp32", "bf16"))
    cpu = torch.device("cpu")
    steps: dict[str, tuple[Step, Recipe]] = {
        "plain": (_plain(fp32), fp32),
        "ours, fp32": (TrainingState(fp32, cpu).step, fp32),
        "ours, bf16": (TrainingState(bf16, cpu).step, bf16),
    }
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, (step, recipe) in steps.items():
            rates[name].append(_images_per_s(step, recipe))
    print(f"{describe()}, torch {torch.__version__}")
    print("| step | images/s (median) | against plain, by round |\n|---|---|---|")
    for name, found in rates.items():
        ratios = " ".join(f"{a / b:.2f}" for a, b in zip(found, rates["plain"], strict=True))
        print(f"| {name} | {statistics.median(found):.0f} | {ratios} |")


if __name__ == "__main__":
    main()
