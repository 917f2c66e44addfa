"""Figures of the study of normalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Final

from matplotlib import colormaps
from matplotlib.ticker import MaxNLocator

from training.studies.drawing import drawing
from training.studies.normalised_nets import Norm
from training.studies.normalization_curves import NETS, NORMS, Curve, Net, Start, main_path
from training.studies.study import Figure, Setting

Curves = Mapping[tuple[Net, Norm], Curve]

_COLOURS: Final = {"batch": "#1f54a6", "instance": "#c73d26", "spectral": "#1a854d"}
_CHOSEN = 4  # epochs of which norms by layer are shown
_FLOOR = 1e-12  # below it a norm is rounding, and is drawn there


def draw(setting: Setting, curves: Curves, starts: Sequence[Start]) -> tuple[Figure, ...]:
    """All of them, in the order of the page."""
    return (
        _accuracy(setting, curves),
        _by_layer(setting, curves),
        _by_epoch(setting, curves),
        _start(setting, starts),
    )


def _accuracy(setting: Setting, curves: Curves) -> Figure:
    figure = Figure(name="accuracy", caption="Share of test images named rightly, after each epoch")
    with drawing(setting, figure, "Accuracy", columns=2, share_y=True) as axes:
        for axis, net in zip(axes, NETS, strict=True):
            for norm in NORMS:
                values = curves[net, norm].accuracy
                epochs = range(1, len(values) + 1)
                axis.plot(epochs, values, color=_COLOURS[norm], label=f"{norm} norm")
            axis.set_title(f"{net} net", loc="left")
            axis.set_xlabel("epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].set_ylabel("test accuracy")
        axes[0].legend(frameon=False)
    return figure


def _by_layer(setting: Setting, curves: Curves) -> Figure:
    figure = Figure(
        name="norms-by-layer",
        caption="Mean gradient norm of each convolution at the start of some epochs (e: epochs "
        "done); shortcuts' 1x1 convolutions are left out",
    )
    shades = colormaps["viridis"]
    with drawing(
        setting,
        figure,
        "Gradient norms by layer, from the images to the logits",
        rows=2,
        columns=3,
        panel=(3.6, 2.8),
        share_y=True,
    ) as axes:
        for axis, (net, norm) in zip(axes, product(NETS, NORMS), strict=True):
            curve = curves[net, norm]
            last = len(curve.gradients) - 1
            epochs = sorted({round(last * i / (_CHOSEN - 1)) for i in range(_CHOSEN)})
            for i, epoch in enumerate(epochs):
                values = [max(v, _FLOOR) for v in curve.by_depth(epoch)]
                axis.semilogy(
                    range(1, len(values) + 1),
                    values,
                    color=shades(0.9 * i / max(1, len(epochs) - 1)),
                    marker="o",
                    markersize=2.5,
                    label=f"e = {epoch}",
                )
            axis.set_title(f"{net}, {norm} norm", loc="left")
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            if net == NETS[-1]:
                axis.set_xlabel("convolution")
            if norm == NORMS[0]:
                axis.set_ylabel("gradient norm")
        axes[0].legend(frameon=False, fontsize=8)
    return figure


def _by_epoch(setting: Setting, curves: Curves) -> Figure:
    figure = Figure(
        name="norms-by-epoch",
        caption="Mean gradient norm of each convolution by epoch, from the first (blue) to the "
        "last (red); dotted: the rate becomes a tenth",
    )
    shades = colormaps["turbo"]
    with drawing(
        setting,
        figure,
        "Gradient norms by epoch, one line a convolution",
        rows=2,
        columns=3,
        panel=(3.6, 2.8),
        share_y=True,
    ) as axes:
        for axis, (net, norm) in zip(axes, product(NETS, NORMS), strict=True):
            curve = curves[net, norm]
            shown = main_path(curve.layers)
            for i, layer in enumerate(shown):
                values = [max(epoch[layer], _FLOOR) for epoch in curve.gradients]
                colour = shades(0.05 + 0.9 * i / max(1, len(shown) - 1))
                axis.semilogy(values, color=colour, linewidth=1)
            last = len(curve.gradients) - 1
            for share in (0.5, 0.8):
                axis.axvline(share * last, color="0.6", linewidth=0.8, linestyle=":")
            axis.set_title(f"{net}, {norm} norm", loc="left")
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            if net == NETS[-1]:
                axis.set_xlabel("epochs done")
            if norm == NORMS[0]:
                axis.set_ylabel("gradient norm")
    return figure


def _start(setting: Setting, starts: Sequence[Start]) -> Figure:
    figure = Figure(
        name="residual-start",
        caption="The residual net before training: with the ReLU between its last norm and the "
        "mean over places (lines), and without it (dashes). Norms below 1e-12 are drawn there",
    )
    title = "Residual net at the start, with and without its last ReLU"
    with drawing(setting, figure, title, panel=(7.2, 3.4)) as (axis,):
        for start in starts:
            layers = tuple(start.gradients)
            values = [max(start.gradients[layers[i]], _FLOOR) for i in main_path(layers)]
            whole = start.head == "norm-relu"
            axis.semilogy(
                range(1, len(values) + 1),
                values,
                color=_COLOURS[start.norm],
                linestyle="-" if whole else "--",
                label=f"{start.norm} norm" + ("" if whole else ", no ReLU"),
            )
        axis.set_xlabel("convolution")
        axis.set_ylabel("gradient norm")
        axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
