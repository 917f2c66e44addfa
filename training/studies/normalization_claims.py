"""What its author says of normalisation and gradients, held against a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from training.studies.normalised_nets import Head, Norm
from training.studies.normalization_curves import NETS, NORMS, Curve, Net, Start, fit
from training.studies.study import Claim

Curves = Mapping[tuple[Net, Norm], Curve]

_EXPONENTIAL_R2: Final = 0.8  # from which on logarithms by depth count as a line
_LEARNS: Final = 1.5  # times chance


def claims(
    curves: Curves, starts: Sequence[Start], probe: Curve, chance: float
) -> tuple[Claim, ...]:
    """All of them.

    Args:
        curves: of each net with each norm.
        starts: of the residual net, with each norm and head.
        probe: the residual net with instance norm, trained without its last ReLU.
        chance: accuracy of guessing.
    """
    return (
        _order(curves),
        _strikingly(curves),
        _grows_in_training(curves),
        _grows_with_depth(curves),
        _skips_tame(curves),
        _instance_residual(curves, starts, probe, chance),
    )


def words(curves: Curves, starts: Sequence[Start], probe: Curve) -> str:
    """A paragraph."""
    accuracy = "; ".join(
        f"{net} " + ", ".join(f"{norm} {curves[net, norm].accuracy[-1]:.1%}" for norm in NORMS)
        for net in NETS
    )
    growth = "; ".join(
        f"{net} " + ", ".join(f"{norm} x{curves[net, norm].growth():.2g}" for norm in NORMS)
        for net in NETS
    )
    return (
        f"Test accuracy at the end: {accuracy}. Gradient norms, as the geometric mean over the "
        f"convolutions, went from the start to the end by: {growth}. At the start they were, "
        f"{_levels(curves)}. With instance norm and without the ReLU between the last norm and "
        f"the mean over places, the residual net starts with gradients of "
        f"{_level(starts, 'instance', 'norm'):.1e} and ends at an accuracy of "
        f"{probe.accuracy[-1]:.1%}: the mean of a channel that has just been given mean zero is "
        "its shift, whatever the image."
    )


def _levels(curves: Curves, *, scaled: bool = False) -> str:
    return "; ".join(
        f"{net}: "
        + ", ".join(
            f"{norm} {(it.scaled_level(0) if scaled else it.level(0)):.2g}"
            for norm, it in ((norm, curves[net, norm]) for norm in NORMS)
        )
        for net in NETS
    )


def _order(curves: Curves) -> Claim:
    kept = [
        curves[net, "batch"].level(0)
        > curves[net, "instance"].level(0)
        > curves[net, "spectral"].level(0)
        for net in NETS
    ]
    return Claim(
        author="At the start gradients are largest with batch norm, then instance, then spectral.",
        found=f"Geometric mean over the convolutions: {_levels(curves)}. Times the weight's norm, "
        f"which takes the scale of the weights out: {_levels(curves, scaled=True)}.",
        agrees=all(kept),
    )


def _strikingly(curves: Curves) -> Claim:
    plain, residual = (
        curves[net, "batch"].level(0) / curves[net, "spectral"].level(0) for net in NETS
    )
    return Claim(
        author="Strikingly so in the residual net.",
        found=f"Batch norm's over spectral norm's: plain {plain:.3g}, residual {residual:.3g}.",
        agrees=residual > plain,
    )


def _grows_in_training(curves: Curves) -> Claim:
    grown = {net: curves[net, "spectral"].growth() for net in NETS}
    others = ", ".join(
        f"{net} {norm} x{curves[net, norm].growth():.2g}" for net in NETS for norm in NORMS[:2]
    )
    return Claim(
        author="With spectral norm gradients grow during training.",
        found=f"From start to end: plain x{grown['plain']:.3g}, residual "
        f"x{grown['residual']:.3g}; for comparison {others}.",
        agrees=all(factor > 1 for factor in grown.values()),
    )


def _grows_with_depth(curves: Curves) -> Claim:
    curve = curves["plain", "spectral"]
    middle = len(curve.gradients) // 2
    fits = [fit(curve.by_depth(epoch)) for epoch in (0, middle, -1)]
    return Claim(
        author="… and with depth, exponentially where there are no skips.",
        found=f"Plain net, towards the logits: at the start {fits[0]}, in the middle {fits[1]}, "
        f"at the end {fits[2]}.",
        agrees=fits[2].factor > 1 and fits[2].r2 >= _EXPONENTIAL_R2,
    )


def _skips_tame(curves: Curves) -> Claim:
    plain, residual = (fit(curves[net, "spectral"].by_depth(-1)) for net in NETS)
    spreads = [
        max(values) / max(min(values), 1e-30)
        for values in (curves[net, "spectral"].by_depth(-1) for net in NETS)
    ]
    return Claim(
        author="Residual connections tame that.",
        found=f"Spectral norm at the end: plain {plain}, residual {residual}; largest over "
        f"smallest layer: plain {spreads[0]:.3g}, residual {spreads[1]:.3g}.",
        agrees=abs(residual.factor - 1) < abs(plain.factor - 1) and spreads[1] < spreads[0],
    )


def _instance_residual(
    curves: Curves, starts: Sequence[Start], probe: Curve, chance: float
) -> Claim:
    curve = curves["residual", "instance"]
    learns = curve.accuracy[-1] > _LEARNS * chance
    return Claim(
        author="With instance norm the residual net has gradients of zero at the start and does "
        "not learn; it was left out.",
        found=f"As published, with ReLU behind the last norm: gradients of "
        f"{_level(starts, 'instance', 'norm-relu'):.2g} at the start, accuracy "
        f"{curve.accuracy[-1]:.1%} at the end. With the last norm straight before the mean over "
        f"places: {_level(starts, 'instance', 'norm'):.2g} (batch norm: "
        f"{_level(starts, 'batch', 'norm'):.2g}), and {probe.accuracy[-1]:.1%} after "
        f"{len(probe.accuracy)} epochs, where guessing has {chance:.0%}. Such a mean is the "
        "norm's shift, the same for every image, so no gradient passes it: an explanation of what "
        "the author saw, if his net ends so.",
        agrees=not learns,
    )


def _level(starts: Sequence[Start], norm: Norm, head: Head) -> float:
    (found,) = (start.level for start in starts if (start.norm, start.head) == (norm, head))
    return found
