"""The three rungs of `gradient_rungs`, held against each other from the same and other starts.

On the first two rungs of the original ladder weights start from N(0, 1); on the third torch draws
them.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from training.studies.drawing import drawing
from training.studies.gradient_rungs import (
    NORMAL,
    OWN,
    RUNGS,
    STARTS,
    Ladder,
    Sizes,
    apart,
    expected,
)
from training.studies.study import Claim, Figure, Findings, Setting, Study

_EXACT: Final = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Relative differences of weights that rounding may have made in some hundred steps."""


def run(setting: Setting) -> Findings:
    """Climbs every rung from both starts, in both precisions."""
    sizes = setting.sizes(Sizes, reduced={}, quick={"steps": 150})
    losses: dict[str, dict[str, list[float]]] = {}
    differences: dict[str, dict[str, list[float]]] = {}
    worst: dict[torch.dtype, dict[str, float]] = {}
    runs = [(dtype, start) for dtype in _EXACT for start in STARTS]
    for dtype, start in setting.track(runs, "precisions and starts"):
        ladder = Ladder(sizes, dtype)
        climbs = {rung: ladder.climb(rung, start) for rung in RUNGS}
        if dtype == torch.float64:
            losses[start] = {rung: [loss for loss, _ in steps] for rung, steps in climbs.items()}
        for rung in list(RUNGS)[1:]:
            series = apart(climbs["by hand"], climbs[rung])
            precision = str(dtype).removeprefix("torch.")
            differences.setdefault(f"{precision}, from {start}", {})[rung] = series
            pairs = worst.setdefault(dtype, {})
            pairs[rung] = max(pairs.get(rung, 0.0), *series)
    as_it_comes = [loss for loss, _ in Ladder(sizes, torch.float64).third_as_it_comes()]
    figures = (_draw_losses(setting, losses, as_it_comes), _draw_apart(setting, differences))
    numbers: dict[str, Any] = {
        "losses": losses,
        "third_as_it_comes": as_it_comes,
        "expected_at_start": expected(sizes),
        "relative_differences_from_by_hand": differences,
    }
    return Findings(
        study=STUDY.name,
        quick=setting.quick,
        settings=sizes.model_dump(mode="json"),
        numbers=numbers,
        claims=_claims(sizes, losses, as_it_comes, worst),
        figures=figures,
        words=_words(sizes, losses, as_it_comes),
    )


def _claims(
    sizes: Sizes,
    losses: dict[str, dict[str, list[float]]],
    as_it_comes: list[float],
    worst: dict[torch.dtype, dict[str, float]],
) -> tuple[Claim, ...]:
    high, low = losses[NORMAL]["by hand"][0], as_it_comes[0]
    theory = expected(sizes)

    def agree(*rungs: str) -> bool:
        return all(worst[dtype][rung] <= limit for dtype, limit in _EXACT.items() for rung in rungs)

    def differ(rung: str) -> str:
        wide, narrow = worst[torch.float64][rung], worst[torch.float32][rung]
        if wide == narrow == 0.0:
            return "the same to the last bit, in float64 and in float32"
        return f"at most {wide:.1e} of their norm apart in float64, {narrow:.1e} in float32"

    return (
        Claim(
            author="Gradients by hand and by autograd give the same training.",
            found=f"After each of {sizes.steps} steps, from either start, the weights are "
            f"{differ('autograd')}.",
            agrees=agree("autograd"),
        ),
        Claim(
            author="nn.Module with torch.optim starts at a far lower loss.",
            found=f"At {low:,.0f} instead of {high:,.0f}; expected of the two distributions: "
            f"{theory[OWN]:,.0f} and {theory[NORMAL]:,.0f}.",
            agrees=low < 0.01 * high,
        ),
        Claim(
            author="It is the initial weights that set nn.Module apart.",
            found=f"Given the others' weights, after each step its own are {differ('nn.Module')}.",
            agrees=agree("nn.Module"),
        ),
    )


def _words(
    sizes: Sizes, losses: dict[str, dict[str, list[float]]], as_it_comes: list[float]
) -> str:
    high, low = losses[NORMAL]["by hand"], losses[OWN]["by hand"]
    return (
        "The three rungs are one computation. What differs is where weights start: N(0, 1) makes "
        "predictions with a variance of inputs · hidden / 2, hence a loss of "
        f"{high[0]:,.0f}; torch's U(±1/√fan-in) makes nearly none, hence {as_it_comes[0]:,.0f}, "
        "about the variance of the targets alone. By hand from torch's start the loss begins at "
        f"{low[0]:,.0f} as well. To start lower is not to learn faster: at the same rate of "
        f"{sizes.lr:g} the loss from torch's start is {as_it_comes[-1]:,.4g} after {sizes.steps} "
        f"steps, and {high[-1]:.2g} from N(0, 1), whose large weights make gradients large."
    )


def _draw_losses(
    setting: Setting, losses: dict[str, dict[str, list[float]]], as_it_comes: list[float]
) -> Figure:
    figure = Figure(
        name="losses",
        caption="Loss by step: each rung as it comes, then all three from one start, then from the "
        "other; lines that coincide are dashed to show what is under them. float64.",
    )
    rungs = losses[NORMAL]
    panels = {
        "each as it comes": {
            "by hand": rungs["by hand"],
            "autograd": rungs["autograd"],
            "nn.Module": as_it_comes,
        }
    } | {
        f"all from {start} start" if start == OWN else f"all from {start}": series
        for start, series in losses.items()
    }
    title = "By hand, by autograd, by nn.Module"
    with drawing(setting, figure, title, columns=3, share_y=True) as axes:
        for axis, (name, series) in zip(axes, panels.items(), strict=True):
            for number, (rung, values) in enumerate(series.items()):
                dashes = (0, (2, 2)) if number == 1 else (0, (1, 4)) if number == 2 else "-"
                alone = name == "each as it comes" and number == 2
                axis.plot(
                    values,
                    color=f"C{number}",
                    label=rung,
                    linestyle="-" if alone else dashes,
                    linewidth=2 + 1.5 * (number == 0),
                )
            axis.set_yscale("log")
            axis.set_title(name)
            axis.set_xlabel("step")
        axes[0].set_ylabel("sum of squared errors")
        axes[0].legend()
    return figure


def _draw_apart(setting: Setting, differences: dict[str, dict[str, list[float]]]) -> Figure:
    figure = Figure(
        name="differences",
        caption="How far the weights are from those computed by hand, relative to their norm, "
        "after each step from the same start. Runs that are the same to the last bit have no line. "
        "A spike of one step is a unit that crosses zero one step earlier in one of the two.",
    )
    title = "The same start: differences from by hand are rounding"
    with drawing(setting, figure, title, panel=(7.5, 3.4)) as (axis,):
        for number, (rung, (name, series)) in enumerate(
            (rung, item) for rung in list(RUNGS)[1:] for item in differences.items()
        ):
            values = [value if value > 0 else float("nan") for value in series[rung]]
            if any(value > 0 for value in series[rung]):
                axis.plot(values, color=f"C{number}", label=f"{rung}, {name}")
        axis.set_yscale("log")
        axis.set_xlabel("step")
        axis.set_ylabel("relative difference")
        if axis.lines:
            axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


STUDY = Study(
    name="gradient-ladder",
    title="A network by hand, by autograd and by nn.Module",
    question="Do hand-written gradients, autograd and nn.Module with torch.optim train alike, and "
    "why does the last one start at so much lower a loss?",
    source="The ladder of PyTorch's “Learning PyTorch with Examples”: 64 random examples, 1000 "
    "inputs, 100 hidden units, 10 outputs, 500 steps at a rate of 1e-6.",
    run=run,
)
