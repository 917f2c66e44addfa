"""From a run's recorded series to a verdict: a pure, streaming function.

Each record speaks through several signals. A sign is weak (seen in healthy runs too), strong
(seldom), or conclusive. A strong one, or weak ones of two kinds, that last make a run suspect. A
conclusive one makes it collapsed, and so do strong ones of two kinds that last; where the distance
to real images is known, it must be one of the two, and may then be weak. A distance that drifts up
for a long time makes a run decaying.

No value is compared with a fixed bound but ratios to the run's own past, because layers differ: in
the BigGAN paper's collapse one layer's sigma0 went from 9.7 to 39.6, while another climbed to 88 in
good health (Brock et al. 2018, section 4.1 and appendix F). D's spectra never speak strongly: their
spikes recover.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from training.monitor.signs import Sign, Signals, Thresholds, Weight
from training.monitor.verdict import Health, Reason, Verdict


class Detector:
    """Observes records in order of iteration; `verdict` is the newest.

    Args:
        thresholds: what is a lot.
    """

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self._bounds = thresholds or Thresholds()
        self._signals = Signals(self._bounds)
        self._strain = 0  # ticks in a row with signs
        self._calm = 0  # ticks in a row without
        self._before: float | None = None  # iteration before the first sign
        self._newest_itr: float = 0
        self.verdict = Verdict(0)

    def observe(self, record: dict[str, Any]) -> Verdict:
        """Takes a line of `spectra.jsonl`, of which any key but `itr` may be missing."""
        self._signals.take(record)
        signs = sorted(self._signals.signs(record), key=lambda sign: -sign[0])
        self.verdict = self._judge(record["itr"], signs)
        self._newest_itr = record["itr"]
        return self.verdict

    def _judge(self, itr: int, signs: list[Sign]) -> Verdict:
        """Hysteresis: signs must last to count, and be gone for a while to be forgotten."""
        kinds = {weight: {r.signal for w, r in signs if w >= weight} for weight in Weight}
        uneasy = bool(kinds[Weight.strong]) or len(kinds[Weight.weak]) > 1
        if (uneasy or "quality" in kinds[Weight.weak]) and self._before is None:
            self._before = self._newest_itr
        if uneasy:
            self._strain, self._calm = self._strain + 1, 0
        else:
            self._strain, self._calm = 0, self._calm + 1
        health, reasons = self.verdict.health, self.verdict.reasons
        lasts = self._strain >= self._bounds.lasting
        worse = "quality" in kinds[Weight.weak] or self._signals.quality is None
        several = len(kinds[Weight.strong] | {"quality"} & kinds[Weight.weak]) > 1
        if kinds[Weight.conclusive] or (worse and several and lasts):
            health = Health.collapsed
        elif health is Health.collapsed and not self._signals.recovered():
            pass
        elif uneasy:
            health = Health.suspect if lasts else health
        elif self._calm >= self._bounds.calm or health is not Health.suspect:
            health = Health.decaying if self._signals.decays() else Health.healthy
        if signs and health in {Health.suspect, Health.collapsed}:
            reasons = tuple(reason for _, reason in signs)
        elif health is Health.decaying:
            reasons = (self._signals.decay_reason(),)
        elif health is Health.healthy:
            reasons = ()
        if not signs and health in {Health.healthy, Health.decaying}:
            self._before = None
        since = None if health is Health.healthy or self._before is None else int(self._before)
        return Verdict(itr, health, reasons, since)

    @property
    def first_sign_after(self) -> int | None:
        """The last iteration before the first sign, also while it makes no suspicion yet."""
        return None if self._before is None else int(self._before)

    def state_dict(self) -> dict[str, Any]:
        """Plain values from which another detector goes on to the same verdicts."""
        return {
            "signals": self._signals.state_dict(),
            "strain": self._strain,
            "calm": self._calm,
            "before": self._before,
            "newest_itr": self._newest_itr,
            "verdict": {
                "itr": self.verdict.itr,
                "health": self.verdict.health.value,
                "reasons": [[getattr(r, f.name) for f in fields(r)] for r in self.verdict.reasons],
                "since": self.verdict.since,
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self._signals.load_state_dict(state["signals"])
        self._strain, self._calm = state["strain"], state["calm"]
        self._before, self._newest_itr = state["before"], state["newest_itr"]
        said = state["verdict"]
        reasons = tuple(Reason(*parts) for parts in said["reasons"])
        self.verdict = Verdict(said["itr"], Health(said["health"]), reasons, said["since"])
