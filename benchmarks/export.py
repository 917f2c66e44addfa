"""The rewritten export against the plain one: `python -m benchmarks.export`.

For networks of the shape of three recipes, with random weights and the statistics that these give:
images per second in plain onnxruntime by batch size, with one thread and with two, the largest
difference of a pixel, what each rewrite adds, and the forms of an upsampling convolution by layer.
Everything is measured in turns, and the ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.machine import describe
from training.config import load_recipe
from training.ema import standing_statistics
from training.networks import Subject, build
from zoo.exporters.graph import ServedGenerator, trace
from zoo.exporters.parity import Feeds, example_feeds
from zoo.exporters.phases import PhaseConvolution
from zoo.exporters.rewrites import REWRITES, plain, rewritten
from zoo.exporters.truncation_knots import N_KNOTS
from zoo.nets.layers import StandingBatchNorm2d, UpsampleConv2d, box_2x2, fold_spectral_norm

_SHAPES = {
    "dcgan-emnist": Subject((), 1),
    "biggan-emnist": Subject(tuple(map(str, range(47))), 1),
    "biggan-cifar10": Subject(tuple(map(str, range(10))), 3),
}
_BATCHES = (1, 4, 16, 64)
_SMALL = 16  # images, for the tables that have one batch size
_STATISTICS = 64  # images that batch-norm statistics come from
_LAYERS = ((128, 64, 7), (64, 32, 14), (32, 16, 14), (256, 256, 4), (256, 256, 8), (256, 256, 16))


class File:
    """A graph in onnxruntime."""

    def __init__(self, model: onnx.ModelProto, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        content = model.SerializeToString()
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, feeds: Feeds) -> NDArray[np.float64]:
        """What the graph puts out first."""
        output: NDArray[np.float64] = self._session.run(None, feeds)[0].astype(np.float64)
        return output

    def run(self, feeds: Feeds) -> None:
        """The same, for the clock."""
        self._session.run(None, feeds)


def rates(
    files: Mapping[str, File], feeds: Feeds, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Images per second of each file in each round; files take turns within a round."""
    n = len(next(iter(feeds.values())))
    found: dict[str, list[float]] = {name: [] for name in files}
    for file in files.values():
        file.run(feeds)
    for _ in range(rounds):
        for name, file in files.items():
            start_s, calls = time.perf_counter(), 0
            while (passed_s := time.perf_counter() - start_s) < seconds or not calls:
                file.run(feeds)
                calls += 1
            found[name].append(n * calls / passed_s)
    return found


def ratio(these: list[float], those: list[float]) -> float:
    """Median over the rounds."""
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


def network(name: str) -> ServedGenerator:
    """A recipe's generator with random weights, and statistics that follow the truncation."""
    torch.manual_seed(0)
    recipe, subject = load_recipe(name), _SHAPES[name]
    generator, _ = build(recipe.network, subject)
    fold_spectral_norm(generator)
    z_dim, n_classes = recipe.network.z_dim, len(subject.class_names)
    z = torch.randn(_STATISTICS, z_dim)
    classes = F.one_hot(torch.arange(_STATISTICS) % n_classes, n_classes) if n_classes else None
    inputs = (z,) if classes is None else (z, classes.float())
    standing_statistics(generator, [inputs])
    if classes is None:
        return ServedGenerator(generator, z_dim).eval()
    for norm in generator.modules():
        if isinstance(norm, StandingBatchNorm2d):
            mean, variance = norm.statistics(None)
            narrower = torch.linspace(0.3, 1.0, N_KNOTS)[:, None]
            norm.tabulate(mean * narrower.sqrt(), variance * narrower)
    return ServedGenerator(generator, z_dim, n_classes, N_KNOTS).eval()


def compare_networks(names: list[str], rounds: int, seconds: float) -> None:
    """Prints a table of plain against rewritten."""
    print(
        "\n| network | threads | batch | plain, images/s | rewritten | ratio | largest difference |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in names:
        served = network(name)
        graphs = {"plain": trace(plain(served)), "rewritten": trace(rewritten(served))}
        for threads in (1, 2):
            files = {label: File(graph, threads) for label, graph in graphs.items()}
            for batch in _BATCHES:
                feeds = example_feeds(served, batch)
                one, other = (file(feeds) for file in files.values())
                found = rates(files, feeds, rounds, seconds)
                before, after = map(statistics.median, found.values())
                gain = ratio(found["rewritten"], found["plain"])
                print(
                    f"| {name} | {threads} | {batch} | {before:.0f} | {after:.0f} | {gain:.2f} "
                    f"| {np.abs(one - other).max():.0f} |",
                    flush=True,
                )


def compare_rewrites(names: list[str], rounds: int, seconds: float) -> None:
    """Prints what each rewrite adds to those before it, with one thread."""
    print(f"\n| network, batches of {_SMALL} | rewrite | of plain | of the one before |")
    print("|---|---|---|---|")
    for name in names:
        served = network(name)
        so_far = plain(served)
        newest = trace(so_far)
        files = {"plain": File(newest)}
        for label, rewrite in REWRITES.items():
            so_far.generator = rewrite(so_far.generator)
            before, newest = newest, trace(so_far)
            if newest != before:  # else there was nothing to rewrite
                files[label] = File(newest)
        found = rates(files, example_feeds(served, _SMALL), rounds, seconds)
        for last, label in pairwise(files):
            whole, step = (ratio(found[label], found[base]) for base in ("plain", last))
            print(f"| {name} | {label} | {whole:.2f} | {step:.2f} |", flush=True)


class _PixelShuffle(nn.Module):
    """An upsampling convolution as a 3x3 convolution to four times the channels, shuffled."""

    def __init__(self, layer: UpsampleConv2d) -> None:
        super().__init__()
        kernel = box_2x2(layer.weight.detach())
        parts = [
            F.pad(kernel[:, :, a::2, b::2], (b, 1 - b, a, 1 - a)) for a in (0, 1) for b in (0, 1)
        ]
        self.weight = nn.Parameter(torch.stack(parts, 1).flatten(0, 1))
        assert layer.bias is not None
        self.bias = nn.Parameter(layer.bias.detach().repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(F.conv2d(x, self.weight, self.bias, padding=1), 2)


def _layer_file(layer: nn.Module, x: Tensor, threads: int) -> File:
    batch = {0: torch.export.Dim("N", min=1, max=1024)}
    program = torch.onnx.export(
        layer.eval(), (x,), dynamo=True, verbose=False, input_names=["x"], dynamic_shapes=(batch,)
    )
    assert program is not None
    return File(program.model_proto, threads)


def compare_layers(rounds: int, seconds: float) -> None:
    """Prints the forms of upsampling and a 3x3 convolution, against the one written down."""
    forms: dict[str, Callable[[UpsampleConv2d], nn.Module]] = {
        "plain": lambda layer: layer,
        "4x4 transposed": lambda layer: layer,
        "4 times the channels, pixel shuffle": _PixelShuffle,
        "phases": PhaseConvolution,
    }
    columns = ["threads", "plain, us an image", *list(forms)[1:], "largest difference"]
    print(f"\n| channels, side; batches of {_SMALL} | {' | '.join(columns)} |")
    print("|---|" + "---|" * len(columns))
    for in_channels, out_channels, side in _LAYERS:
        x = torch.randn(_SMALL, in_channels, side, side)
        layer = UpsampleConv2d(in_channels, out_channels)
        for threads in (1, 2):
            files = {}
            for label, form in forms.items():
                layer.fused = label != "plain"
                files[label] = _layer_file(form(layer), x, threads)
            feeds = {"x": x.numpy()}
            outputs = [file(feeds) for file in files.values()]
            worst = max(float(np.abs(out - outputs[0]).max()) for out in outputs)
            found = rates(files, feeds, rounds, seconds)
            us = 1e6 / statistics.median(found["plain"])
            gains = [f"{ratio(found[label], found['plain']):.2f}" for label in list(forms)[1:]]
            row = [f"{in_channels} to {out_channels}, {side}", str(threads), f"{us:.0f}", *gains]
            print(f"| {' | '.join(row)} | {worst:.0e} |", flush=True)


def main() -> None:
    """Measures and prints tables for docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each file in each round")
    parser.add_argument("--networks", nargs="+", choices=list(_SHAPES), default=list(_SHAPES))
    options = parser.parse_args()
    print(f"{describe()}, torch {torch.__version__}")
    compare_networks(options.networks, options.rounds, options.seconds)
    compare_rewrites(options.networks, options.rounds, options.seconds)
    compare_layers(options.rounds, options.seconds)


if __name__ == "__main__":
    main()
