"""What the study of batch norm measures and shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from matplotlib import colormaps
from pydantic import JsonValue

from training.monitor.readings import rounded
from training.studies.drawing import drawing
from training.studies.study import Claim, Figure, Setting

_LEARNED: Final = 0.9  # accuracy from which on a rate counts as one that works
_KINDS: Final = {True: "with batch norm", False: "without"}
_COLOURS: Final = {True: "#1f54a6", False: "#c73d26"}


@dataclass
class Trial:
    """One net at one rate.

    Attributes:
        batch_norm: whether it has it.
        rate: of Adam.
        steps: at which it was evaluated, from 0.
        losses: of the batch at those steps; None at step 0.
        accuracy: of test images, in evaluation mode.
        by_batch: the same with the statistics of batches of test images instead of moving averages.
        restored: accuracy of a network that was restored from what this one saved at the end.
    """

    batch_norm: bool
    rate: float
    steps: list[int] = field(default_factory=list)
    losses: list[float | None] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    by_batch: list[float] = field(default_factory=list)
    restored: float = float("nan")

    @property
    def name(self) -> str:
        """For people."""
        return f"{_KINDS[self.batch_norm]}, rate {self.rate:g}"

    @property
    def final(self) -> float:
        """Accuracy at the end."""
        return self.accuracy[-1]

    def add(self, step: int, loss: float | None, accuracy: float, by_batch: float) -> None:
        """An evaluation."""
        self.steps.append(step)
        self.losses.append(loss)
        self.accuracy.append(accuracy)
        self.by_batch.append(by_batch)

    def first_at(self, accuracy: float, *, by_batch: bool = False) -> int | None:
        """The first step evaluated that has reached an accuracy; None where none has."""
        seen = self.by_batch if by_batch else self.accuracy
        return next((s for s, a in zip(self.steps, seen, strict=True) if a >= accuracy), None)

    def to_json(self) -> dict[str, JsonValue]:
        """Everything; losses with six digits."""
        found: dict[str, JsonValue] = {
            "batch_norm": self.batch_norm,
            "rate": self.rate,
            "steps": list(self.steps),
            "losses": rounded(self.losses),
            "accuracy": list(self.accuracy),
            "accuracy_by_batch_statistics": list(self.by_batch),
            "restored_accuracy": self.restored,
        }
        return found


def claims(trials: Sequence[Trial]) -> tuple[Claim, ...]:
    """All of them."""
    return _higher_rates(trials), _faster(trials), _less_sensitive(trials), _restored(trials)


def words(trials: Sequence[Trial]) -> str:
    """A paragraph."""
    told = "; ".join(
        f"{kind}: " + ", ".join(f"{t.final:.1%} at {t.rate:g}" for t in _of(trials, batch_norm))
        for batch_norm, kind in _KINDS.items()
    )
    best = {kind: _best(trials, kind) for kind in _KINDS}
    by_batch = ", ".join(f"{t.by_batch[-1]:.1%} at {t.rate:g}" for t in _of(trials, True))
    return (
        f"Final accuracy on held-out digits, evaluated with population statistics, {told}. The "
        f"best rate is {best[True].rate:g} with batch norm ({best[True].final:.1%}) and "
        f"{best[False].rate:g} without ({best[False].final:.1%}). With the statistics of batches "
        f"of test images in place of the moving averages, batch norm has {by_batch}."
    )


def draw(setting: Setting, trials: Sequence[Trial]) -> tuple[Figure, ...]:
    """Accuracy by step, and at the end against the rate."""
    by_step = Figure(
        name="accuracy-by-step",
        caption="Accuracy on held-out digits while training, by rate of Adam; evaluated with the "
        "moving averages of batch norm's statistics (lines), and with those of batches of 500 test "
        "images (dots)",
    )
    shades = colormaps["viridis"]
    with drawing(setting, by_step, "Accuracy by step", columns=2, share_y=True) as axes:
        for axis, (batch_norm, kind) in zip(axes, _KINDS.items(), strict=True):
            chosen = _of(trials, batch_norm)
            for i, trial in enumerate(chosen):
                colour = shades(0.9 * i / max(1, len(chosen) - 1))
                axis.plot(trial.steps, trial.accuracy, color=colour, label=f"{trial.rate:g}")
                if batch_norm:
                    axis.plot(trial.steps, trial.by_batch, color=colour, linestyle=":")
            axis.set_title(kind, loc="left")
            axis.set_xlabel("step")
        axes[0].set_ylabel("test accuracy")
        axes[1].legend(frameon=False, title="rate", loc="center left", bbox_to_anchor=(1.0, 0.5))
    by_rate = Figure(name="accuracy-by-rate", caption="Accuracy at the end against Adam's rate")
    with drawing(setting, by_rate, "Final accuracy against the rate", panel=(5.4, 3.3)) as (axis,):
        for batch_norm, kind in _KINDS.items():
            chosen = _of(trials, batch_norm)
            axis.semilogx(
                [t.rate for t in chosen],
                [t.final for t in chosen],
                color=_COLOURS[batch_norm],
                marker="o",
                label=kind,
            )
        normed = _of(trials, True)
        axis.semilogx(
            [t.rate for t in normed],
            [t.by_batch[-1] for t in normed],
            color=_COLOURS[True],
            linestyle=":",
            label="with, statistics of batches",
        )
        axis.set_xlabel("rate of Adam")
        axis.set_ylabel("test accuracy at the end")
        axis.set_ylim(0, 1.03)
        axis.legend(frameon=False)
    return by_step, by_rate


def _of(trials: Sequence[Trial], batch_norm: bool) -> list[Trial]:
    return [trial for trial in trials if trial.batch_norm is batch_norm]


def _best(trials: Sequence[Trial], batch_norm: bool) -> Trial:
    return max(_of(trials, batch_norm), key=lambda trial: trial.final)


def _higher_rates(trials: Sequence[Trial]) -> Claim:
    highest = {
        kind: max((t.rate for t in _of(trials, kind) if t.final >= _LEARNED), default=None)
        for kind in _KINDS
    }
    told = "; ".join(
        f"{_KINDS[kind]} " + (f"up to {rate:g}" if rate is not None else "at none of the rates")
        for kind, rate in highest.items()
    )
    known = any(rate is not None for rate in highest.values())
    return Claim(
        author="Batch norm lets a network train at much higher rates (Ioffe and Szegedy 2015, "
        "section 3.3).",
        found=f"{_LEARNED:.0%} or more at the end: {told}.",
        agrees=(highest[True] or 0) > (highest[False] or 0) if known else None,
    )


def _faster(trials: Sequence[Trial]) -> Claim:
    goal = _best(trials, False).final
    ours = _first(_of(trials, True), goal, by_batch=False)
    by_batch = _first(_of(trials, True), goal, by_batch=True)
    theirs = _first(_of(trials, False), goal, by_batch=False)
    return Claim(
        author="With batch norm a network reaches the same accuracy in fewer steps (section "
        "4.2.1).",
        found=f"{goal:.1%}, the best final accuracy without, came first {_told(theirs)} without "
        f"batch norm, and with it {_told(ours)}, each at its best rate for this; with the "
        f"statistics of batches instead of moving averages {_told(by_batch)}.",
        agrees=ours is not None and theirs is not None and ours < theirs,
    )


def _first(trials: Sequence[Trial], goal: float, *, by_batch: bool) -> int | None:
    steps = (trial.first_at(goal, by_batch=by_batch) for trial in trials)
    return min((step for step in steps if step is not None), default=None)


def _told(step: int | None) -> str:
    return "never" if step is None else f"at step {step:,}"


def _less_sensitive(trials: Sequence[Trial]) -> Claim:
    ranges = {
        kind: (min(t.final for t in _of(trials, kind)), max(t.final for t in _of(trials, kind)))
        for kind in _KINDS
    }
    told = "; ".join(f"{_KINDS[k]} {low:.1%} to {high:.1%}" for k, (low, high) in ranges.items())
    spans = {kind: high - low for kind, (low, high) in ranges.items()}
    return Claim(
        author="The outcome depends less on the rate.",
        found=f"Final accuracy over all rates: {told}.",
        agrees=spans[True] < spans[False],
    )


def _restored(trials: Sequence[Trial]) -> Claim:
    same = sum(trial.restored == trial.final for trial in trials)
    return Claim(
        author="A restored checkpoint reproduces the accuracy exactly, moving averages included.",
        found=f"{same} of {len(trials)} nets, each restored into a new one.",
        agrees=same == len(trials),
    )
