"""The GAN steps against plain implementations of them: `python -m benchmarks.training_step`.

Plain is what a first version looks like: torch's default memory layout, Adam without fusing, a
second forward pass of the DCGAN's generator for its own update, and the BigGAN's resampling as its
paper draws it, an upsampling or pooling beside a convolution. Measured in turns, several rounds.
`--device cuda` measures on a GPU, `--compile` bf16 under torch.compile besides.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.machine import describe
from training.batches import BatchSource
from training.config import Recipe, load_recipe
from training.data import ImageSet
from training.launch import resolve_device
from training.losses import LOSSES
from training.networks import Subject, pixel_range, subject_of
from training.state import TrainingState
from training.steps import Draw

_WARM_UP, _STEPS = 1, 4
_IMAGES = 1024

Step = Callable[[Draw], object]


def images(recipe: Recipe) -> ImageSet:
    """Noise of the recipe's size and number of classes."""
    emnist = recipe.dataset == "emnist-balanced"
    channels, side, n_classes = (1, 28, 47) if emnist else (3, 32, 10)
    pixels = torch.randint(0, 256, (_IMAGES, channels, side, side), dtype=torch.uint8)
    names = tuple(str(i) for i in range(n_classes))
    return ImageSet(pixels, torch.arange(_IMAGES) % n_classes, names)


def small_recipe(name: str, device: torch.device, *overrides: str) -> Recipe:
    """On a CPU with batches that two cores can chew, where the recipe's are too large."""
    large = name == "biggan-cifar10" and device.type == "cpu"
    smaller = ["batch_size=16", "d_steps=2"] if large else []
    return load_recipe(name, [*smaller, *overrides])


def _plain(name: str, subject: Subject, device: torch.device) -> Step:
    recipe = small_recipe(
        name, device, "precision=fp32", "channels_last=false", "fused_resampling=false"
    )
    state, loss, adam = (
        TrainingState(recipe, device, subject),
        LOSSES[recipe.loss],
        recipe.optimizer,
    )
    generator, discriminator = state.generator, state.discriminator

    def optimizer(network: nn.Module, lr: float) -> torch.optim.Adam:
        return torch.optim.Adam(network.parameters(), lr, adam.betas, adam.eps, foreach=False)

    g_optimizer = optimizer(generator, adam.g_lr)
    d_optimizer = optimizer(discriminator, adam.d_lr)

    def step(draw: Draw) -> None:
        for (real, *real_classes), (z, *classes) in zip(draw.real, draw.d_fake, strict=True):
            d_optimizer.zero_grad()
            fake = generator(z, *classes).detach()
            loss_d = loss.discriminator(
                discriminator(real, *real_classes), discriminator(fake, *classes)
            )
            loss_d.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            d_optimizer.step()
        g_optimizer.zero_grad()
        for z, *classes in draw.g_fake or draw.d_fake:
            loss_g: Tensor = loss.generator(discriminator(generator(z, *classes), *classes))
            loss_g.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        g_optimizer.step()

    return step


def _images_per_s(step: Step, draws: list[Draw], images: int, wait: Callable[[], object]) -> float:
    for draw in draws[:_WARM_UP]:
        step(draw)
    wait()
    start_s = time.perf_counter()
    for draw in draws[_WARM_UP:]:
        step(draw)
    wait()
    return (len(draws) - _WARM_UP) * images / (time.perf_counter() - start_s)


def _measure(name: str, rounds: int, device: torch.device, compiled: bool) -> None:
    fp32, bf16 = (small_recipe(name, device, f"precision={p}") for p in ("fp32", "bf16"))
    data = images(fp32)
    subject = subject_of(data)
    steps: dict[str, Step] = {
        "plain": _plain(name, subject, device),
        "ours, fp32": TrainingState(fp32, device, subject).step,
        "ours, bf16": TrainingState(bf16, device, subject).step,
    }
    if compiled:
        both = small_recipe(name, device, "precision=bf16", "compile=true")
        steps["ours, bf16, compiled"] = TrainingState(both, device, subject).step
    state = TrainingState(fp32, device, subject)
    source = BatchSource(fp32, data, pixel_range(state.generator), device)
    draws = [source.draw(itr) for itr in range(_WARM_UP + _STEPS)]
    rates: dict[str, list[float]] = {step: [] for step in steps}
    # A GPU goes on computing when a step has returned.
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for step in steps.values():
        step(draws[0])  # compiling, and choosing algorithms, is no part of a round
    for _ in range(rounds):
        for label, step in steps.items():
            rates[label].append(_images_per_s(step, draws, source.images_per_itr, wait))
    for label, found in rates.items():
        ratios = " ".join(f"{a / b:.2f}" for a, b in zip(found, rates["plain"], strict=True))
        print(f"| {name} | {label} | {statistics.median(found):.0f} | {ratios} |", flush=True)


def main() -> None:
    """Measures and prints a table for docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--recipes", nargs="+", default=["dcgan-emnist", "biggan-emnist", "biggan-cifar10"]
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="a row for torch.compile, too")
    options = parser.parse_args()
    device = resolve_device(options.device)
    on = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{describe()}, torch {torch.__version__} on {on}")
    print("| recipe | step | real images/s (median) | against plain, by round |")
    print("|---|---|---|---|")
    for name in options.recipes:
        _measure(name, options.rounds, device, options.compile)


if __name__ == "__main__":
    main()
