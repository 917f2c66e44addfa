"""What the monitor says of a run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """From good to bad."""

    healthy = "healthy"
    suspect = "suspect"  # something moves as it does before a collapse; it may recover
    decaying = "decaying"  # quality drifts down over a long time
    collapsed = "collapsed"


@dataclass(frozen=True)
class Reason:
    """One signal that speaks against a run.

    Attributes:
        signal: sigma0, quality, diversity, loss, logits, gradient, nonfinite.
        where: the layer or the part: `G.linear`, `within`; empty where the signal says it all.
        text: for a person, with the figures.
    """

    signal: str
    where: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Verdict:
    """The state of a run after an iteration.

    Attributes:
        itr: the iteration.
        health: healthy, suspect, decaying or collapsed.
        reasons: what speaks against the run; empty if it is healthy.
        since: the last iteration before the first sign of what is going on; None if healthy.
    """

    itr: int
    health: Health = Health.healthy
    reasons: tuple[Reason, ...] = ()
    since: int | None = None

    def __str__(self) -> str:
        return ": ".join([self.health.value, *filter(None, ["; ".join(map(str, self.reasons))])])

    def to_record(self) -> dict[str, object]:
        """As a line of `ganagerie monitor replay` has it."""
        reasons = [str(reason) for reason in self.reasons]
        return {"itr": self.itr, "verdict": self.health.value, "reasons": reasons}
