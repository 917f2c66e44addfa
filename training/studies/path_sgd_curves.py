"""Learning curves of the study of Path-SGD: drawn, and held against the paper's claims."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from matplotlib.ticker import MaxNLocator

from training.studies.drawing import drawing
from training.studies.study import Claim, Figure, Setting

STARTS: Final = ("balanced", "unbalanced")
_PAPERS: Final = ("SGD", "AdaGrad")  # what the paper holds Path-SGD against
_SAME: Final = 0.01  # of the loss at the start: what rounding may do to a curve
_PANELS: Final = (
    ("train_loss", "training cross-entropy"),
    ("train_error", "training error"),
    ("test_error", "test error"),
)


@dataclass(frozen=True)
class Scores:
    """Of a network after some epochs: cross-entropy, and shares of images named wrongly."""

    train_loss: float
    train_error: float
    test_error: float


@dataclass(frozen=True)
class Curve:
    """A training run: before the first epoch, then after each; it ends where it diverges."""

    optimizer: str
    start: str
    lr: float
    scores: list[Scores] = field(default_factory=list)

    @property
    def last(self) -> Scores:
        """After the last epoch whose loss is finite."""
        return self.scores[-1]


def draw(setting: Setting, figure: Figure, curves: Sequence[Curve]) -> None:
    """A row of panels for each start."""
    title = "Learning curves, each optimiser at its best rate"
    names = list(dict.fromkeys(curve.optimizer for curve in curves))
    with drawing(setting, figure, title, rows=2, columns=3) as axes:
        for place, axis in enumerate(axes):
            start, (key, label) = STARTS[place // 3], _PANELS[place % 3]
            for curve in (curve for curve in curves if curve.start == start):
                values = [getattr(scores, key) for scores in curve.scores]
                floor = 0.0 if key == "train_loss" else 1e-4  # no error has no place on the scale
                axis.plot(
                    [max(value, floor) for value in values],
                    color=f"C{names.index(curve.optimizer)}",
                    label=f"{curve.optimizer}, {curve.lr:.2g}",
                )
            axis.set_yscale("log")
            axis.set_title(f"{label}, {start} start")
            axis.set_xlabel("epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            if key == "test_error":  # where it hides nothing
                axis.legend(title="optimiser, rate", loc="upper right")


def judge(curves: Sequence[Curve], test_images: int) -> tuple[Claim, ...]:
    """The paper's claims, held against the curves."""
    of = {(curve.optimizer, curve.start): curve for curve in curves}
    return (
        _same_curve(of["Path-SGD", "balanced"], of["Path-SGD", "unbalanced"]),
        *(_faster(of, start) for start in STARTS),
        _harmed(of),
        _generalises(of, test_images),
    )


def words(curves: Sequence[Curve]) -> str:
    """What the curves show."""
    parts = []
    for start in STARTS:
        ranked = sorted(
            (curve for curve in curves if curve.start == start), key=lambda c: c.last.train_loss
        )
        ends = ", ".join(
            f"{c.optimizer} {c.last.train_loss:.2g} ({c.last.test_error:.1%})" for c in ranked
        )
        parts.append(f"From the {start} start: {ends}.")
    epochs = max(len(curve.scores) for curve in curves) - 1
    return (
        f"Training cross-entropy (and test error) after {epochs} epochs, best first. "
        + " ".join(parts)
    )


def _same_curve(one: Curve, other: Curve) -> Claim:
    author = "Path-SGD's curves from a balanced and an unbalanced start are exactly the same."
    if one.lr != other.lr:
        found = f"Rates differ: {one.lr:g} and {other.lr:g} were chosen, so curves cannot agree."
        return Claim(author=author, found=found, agrees=False)
    pairs = list(zip(one.scores, other.scores, strict=False))
    apart = [abs(a.train_loss - b.train_loss) for a, b in pairs]
    first = one.scores[0].train_loss
    early = apart[min(1, len(apart) - 1)] / one.scores[min(1, len(apart) - 1)].train_loss
    same = len(one.scores) == len(other.scores) and max(apart) <= _SAME * first
    found = (
        f"Training losses differ by {early:.1e} of themselves after the first epoch, and by at "
        f"most {max(apart) / first:.1e} of the loss at the start in {len(apart) - 1} epochs, in "
        "float32."
    )
    return Claim(author=author, found=found, agrees=same)


def _faster(of: dict[tuple[str, str], Curve], start: str) -> Claim:
    ours = of["Path-SGD", start].last.train_loss
    theirs = {name: of[name, start].last.train_loss for name in _PAPERS}
    adam = of["Adam", start].last.train_loss
    listed = ", ".join(f"{name} {loss:.2g}" for name, loss in theirs.items())
    return Claim(
        author=f"From a{'n' * (start[0] == 'u')} {start} start Path-SGD's training loss falls "
        "below those of SGD and AdaGrad.",
        found=f"At the end Path-SGD {ours:.2g}, {listed}; Adam, not in the paper, {adam:.2g}.",
        agrees=all(ours < loss for loss in theirs.values()),
    )


def _harmed(of: dict[tuple[str, str], Curve]) -> Claim:
    pairs = {name: [of[name, start].last.train_loss for start in STARTS] for name in _PAPERS}
    adam = [of["Adam", start].last.train_loss for start in STARTS]
    listed = "; ".join(f"{name} {a:.2g} and {b:.2g}" for name, (a, b) in pairs.items())
    return Claim(
        author="SGD and AdaGrad do worse from the unbalanced start than from the balanced one.",
        found=f"Training losses at the end, balanced and unbalanced: {listed}; "
        f"Adam {adam[0]:.2g} and {adam[1]:.2g}.",
        agrees=all(a < b for a, b in pairs.values()),
    )


def _generalises(of: dict[tuple[str, str], Curve], test_images: int) -> Claim:
    """Differences below two standard errors of the test error tell nothing."""
    found, verdicts = [], []
    for start in STARTS:
        ours = of["Path-SGD", start].last.test_error
        for name in _PAPERS:
            theirs = of[name, start].last.test_error
            mean = (ours + theirs) / 2
            error = math.sqrt(2 * mean * (1 - mean) / test_images)
            clear = abs(ours - theirs) > 2 * error
            verdicts.append((ours < theirs) if clear else None)
            found.append(f"{ours:.1%} against {theirs:.1%} of {name}, {start}")
    agrees = False if False in verdicts else True if all(verdicts) else None
    return Claim(
        author="Path-SGD's test error ends below those of SGD and AdaGrad.",
        found=f"{'; '.join(found)}; of {test_images:,} images.",
        agrees=agrees,
    )
