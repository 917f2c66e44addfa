"""What is changed in a network before it is exported: the same images, sooner.

Each rewrite is exact but for rounding. What it gains in onnxruntime on a CPU is in
docs/benchmarks.md; `plain` is what the gains are counted from.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn

from zoo.exporters.graph import ServedGenerator
from zoo.exporters.joint_batch_norm import JointBatchNorms, needs_vectors
from zoo.exporters.phases import FlippedConvolution, phases_for_transposed, phases_for_upsampling
from zoo.exporters.static_batch_norm import fold_into_blocks, fold_into_sequences
from zoo.nets import biggan, biggan_deep
from zoo.nets.layers import UpsampleConv2d, UpsampleShortcut, fuse_resampling


def plain(served: ServedGenerator) -> ServedGenerator:
    """A copy that is as the papers draw it: upsampling beside convolutions, norms as written."""
    generator = copy.deepcopy(served.generator)
    fuse_resampling(generator, False)
    return _with(served, generator)


def rewritten(served: ServedGenerator) -> ServedGenerator:
    """A copy with every rewrite of `REWRITES` that applies to it.

    Args:
        served: in evaluation mode, its spectral norms folded.
    """
    generator = plain(served).generator
    for rewrite in REWRITES.values():
        generator = rewrite(generator)
    return _with(served, generator)


def fold_static_norms(generator: nn.Module) -> nn.Module:
    """Norms whose statistics, gains and biases are fixed go into the layers before them."""
    fold_into_sequences(generator)
    if isinstance(generator, biggan.Generator):
        fold_into_blocks(generator)
    return generator


def shortcuts_first(generator: nn.Module) -> nn.Module:
    """A 1x1 convolution runs before its upsampling, on a quarter of the pixels."""
    for layer in generator.modules():
        if isinstance(layer, UpsampleShortcut):
            layer.fused = True
    return generator


def fuse_upsampling(generator: nn.Module) -> nn.Module:
    """Nearest upsampling and a 3x3 convolution become one 4x4 transposed one of stride 2."""
    for layer in generator.modules():
        if isinstance(layer, UpsampleConv2d):
            layer.fused = True
    return generator


def transpose_last_convolution(generator: nn.Module) -> nn.Module:
    """The convolution to 1 or 3 channels becomes a transposed one: see `zoo.exporters.phases`."""
    if isinstance(generator, biggan.Generator | biggan_deep.Generator):
        convolution = generator.get_submodule("conv")
        if isinstance(convolution, nn.Conv2d):
            generator.register_module("conv", FlippedConvolution(convolution))
    return generator


def prepare_norms_jointly(generator: nn.Module) -> nn.Module:
    """Norms that follow class or truncation: see `zoo.exporters.joint_batch_norm`."""
    if isinstance(generator, biggan.Generator | biggan_deep.Generator) and needs_vectors(generator):
        return JointBatchNorms(generator)
    return generator


# By what they are called in the benchmark, in the order in which they are carried out. All of them
# change the generator that they get, and return what takes its place.
REWRITES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "static norms folded": fold_static_norms,
    "1x1 shortcut before its upsampling": shortcuts_first,
    "upsampling and convolution as one": fuse_upsampling,
    "that one by phases": phases_for_upsampling,
    "transposed convolutions as ordinary ones": phases_for_transposed,
    "last convolution transposed": transpose_last_convolution,
    "norms prepared jointly": prepare_norms_jointly,
}


def _with(served: ServedGenerator, generator: nn.Module) -> ServedGenerator:
    copied = ServedGenerator(generator, served.z_dim, served.n_classes, served.n_knots)
    return copied.train(served.training)
