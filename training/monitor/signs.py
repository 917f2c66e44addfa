"""What speaks against a run: signals of its series that leave their own past behind.

Each is weak (seen in healthy runs too), strong (seldom), or conclusive.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from training.monitor.trends import Drift, Growth, Level
from training.monitor.verdict import Reason

_QUALITIES = ("fid", "proxy_fid")  # the first that is there counts


class Weight(IntEnum):
    """How much a sign says."""

    weak = 1
    strong = 2
    conclusive = 3


Sign = tuple[Weight, Reason]


@dataclass(frozen=True)
class Thresholds:
    """What is a lot; `benchmarks/collapse/calibrate.py` shows how far each may be moved.

    Attributes:
        quality_weak: factor of the distance over its best level that is a sign.
        quality_strong: the same, for a strong one.
        quality_collapsed: the same, for a conclusive one.
        proxy: factor on the three where the distance is a proxy's, of the newest weights: it moves
            more than that of the averaged ones in a large classifier's features.
        decay: factor over the best level, reached slowly.
        noises: how many times its usual change a drift must be, to be one.
        diversity_strong: factor by which samples have become less various.
        diversity_collapsed: the same, for a conclusive sign.
        growth: of a layer's sigma0 within a window, as a factor.
        acceleration: times the fastest growth in its past.
        explosion: factor since the run was last healthy that is conclusive where no quality is
            known.
        deviations: of losses and logits from their past, in median absolute deviations.
        gradient: factor of G's gradient over its usual one.
        update: factor of an update's size over its usual one.
        lasting: ticks that signs must last.
        calm: ticks without signs that end a suspicion.
    """

    quality_weak: float = 1.2
    quality_strong: float = 1.5
    quality_collapsed: float = 2.0
    proxy: float = 1.5
    decay: float = 1.06
    noises: float = 3.0
    diversity_strong: float = 1.5
    diversity_collapsed: float = 3.0
    growth: float = 1.15
    acceleration: float = 1.5
    explosion: float = 2.0
    deviations: float = 8.0
    gradient: float = 4.0
    update: float = 3.0
    lasting: int = 2
    calm: int = 4


class Signals:
    """The trends of all series of a run, and the signs in them.

    Args:
        bounds: what is a lot.
    """

    def __init__(self, bounds: Thresholds) -> None:
        self._bounds = bounds
        self._drifts: dict[str, Drift] = {}
        self._growths: dict[str, Growth] = {}
        self._levels: dict[str, Level] = {}

    def take(self, record: dict[str, Any]) -> None:
        """Adds a record to the trends."""
        for name in _QUALITIES:
            if is_number(record.get(name)):
                self._drifts.setdefault(name, Drift()).add(record[name])
        for kind, value in _mapping(record, "diversity").items():
            if is_number(value):
                drift = self._drifts.setdefault(f"diversity.{kind}", Drift(falling_is_better=False))
                drift.add(value)
        learning = self.quality is not None and self.quality.gaining
        for network in ("G", "D"):
            for layer, values in _mapping(record, network).items():
                if isinstance(values, list) and values and is_number(values[0]):
                    name = f"{network}.{layer}"
                    if name not in self._growths:
                        self._growths[name] = Growth(
                            math.log(self._bounds.growth), self._bounds.acceleration
                        )
                    self._growths[name].add(values[0], learning=learning)
            for kind in ("gradient", "update"):
                layers = _mapping(_mapping(record, kind), network)
                sizes = [size for size in layers.values() if is_number(size)]
                if sizes:
                    total = math.sqrt(sum(size * size for size in sizes))
                    self._levels.setdefault(f"{kind}.{network}", Level()).add(
                        math.log(max(total, 1e-12))
                    )
        logits = _mapping(record, "logits")
        if is_number(logits.get("real")) and is_number(logits.get("fake")):
            gap = logits["real"] - logits["fake"]
            self._levels.setdefault("logits.gap", Level()).add(gap)
        for name, value in _mapping(record, "loss").items():
            if is_number(value):
                self._levels.setdefault(f"loss.{name}", Level()).add(value)

    def signs(self, record: dict[str, Any]) -> Iterator[Sign]:
        """What speaks against the run after `record`, which was taken."""
        yield from _nonfinite_signs(record)
        quality = self.quality
        if quality is not None:
            yield from self._quality_signs(quality)
        for name, drift in self._drifts.items():
            if name.startswith("diversity."):
                yield from self._diversity_signs(name.removeprefix("diversity."), drift)
        yield from self._spectrum_signs(quality)
        yield from self._level_signs()

    @property
    def quality(self) -> Drift | None:
        """The distance to real images that counts, if there is one."""
        return next((self._drifts[name] for name in _QUALITIES if name in self._drifts), None)

    def _quality_signs(self, drift: Drift) -> Iterator[Sign]:
        bounds = self._bounds
        loss = drift.loss if _QUALITIES[0] in self._drifts else drift.loss / bounds.proxy
        if drift.loss < 1.0 + bounds.noises * drift.noise:
            return
        for bound, weight in (
            (bounds.quality_collapsed, Weight.conclusive),
            (bounds.quality_strong, Weight.strong),
            (bounds.quality_weak, Weight.weak),
        ):
            if loss >= bound:
                text = (
                    f"distance to real images {drift.levels[-1]:.3g}, "
                    f"{drift.loss:.2f} times its best"
                )
                yield weight, Reason("quality", "", text)
                return

    def _diversity_signs(self, kind: str, drift: Drift) -> Iterator[Sign]:
        bounds = self._bounds
        if drift.loss < max(bounds.diversity_strong, 1.0 + bounds.noises * drift.noise):
            return
        weight = Weight.conclusive if drift.loss >= bounds.diversity_collapsed else Weight.strong
        where = "" if kind == "all" else f" {kind} classes"
        text = (
            f"variety of samples{where} is {drift.levels[-1]:.2f} of that of real images, "
            f"{drift.loss:.1f} times less than at best"
        )
        yield weight, Reason("diversity", kind, text)

    def _spectrum_signs(self, quality: Drift | None) -> Iterator[Sign]:
        off = [
            (growth.factor, name)
            for name, growth in self._growths.items()
            if growth.anchor is not None
        ]
        for factor, name in sorted(off, reverse=True):
            value = math.exp(self._growths[name].logs[-1])
            text = f"sigma0 of {name} has grown {factor:.2f}-fold to {value:.3g}, faster than ever"
            explodes = quality is None and factor >= self._bounds.explosion
            weight = Weight.conclusive if explodes else Weight.strong
            if name.startswith("D."):
                weight = Weight.weak
            yield weight, Reason("sigma0", name, text)

    def _level_signs(self) -> Iterator[Sign]:
        bounds = self._bounds
        for name, level in self._levels.items():
            usual = level.usual
            if usual is None:
                continue
            kind, part = name.split(".", 1)
            if kind in {"gradient", "update"}:
                factor = math.exp(level.newest - usual)
                bound = bounds.gradient if kind == "gradient" else bounds.update
                if factor >= bound and level.deviations >= bounds.deviations:
                    text = f"{kind} of {part} is {factor:.1f} times what it was"
                    yield Weight.weak, Reason(kind, part, text)
            elif name == "logits.gap" and level.newest <= 0.0 < usual:
                text = (
                    "D no longer tells real from fake: its logits differ by "
                    f"{level.newest:.3g}, were {usual:.3g} apart"
                )
                yield Weight.strong, Reason("logits", "", text)
            elif abs(level.deviations) >= bounds.deviations:
                of = "difference of D's logits" if kind == "logits" else f"loss of {part}"
                text = f"{of} is {level.newest:.3g}, was {usual:.3g}"
                yield Weight.weak, Reason("loss", part, text)

    def recovered(self) -> bool:
        """Whether the distance to real images is near its best again."""
        quality = self.quality
        return quality is not None and quality.loss < self._bounds.quality_weak

    def decays(self) -> bool:
        """Whether quality has drifted down over a long time."""
        quality = self.quality
        if quality is None or quality.loss < self._bounds.decay:
            return False
        return quality.slide >= max(self._bounds.decay, 1.0 + self._bounds.noises * quality.noise)

    def decay_reason(self) -> Reason:
        """How far; there is a quality if it decays."""
        quality = self.quality
        if quality is None:
            raise RuntimeError("decay is of a quality")
        text = (
            f"distance to real images has drifted to {quality.loss:.2f} times its best, "
            f"{quality.since_best} readings ago"
        )
        return Reason("quality", "", text)

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "drifts": {name: asdict(it) for name, it in self._drifts.items()},
            "growths": {name: asdict(it) for name, it in self._growths.items()},
            "levels": {name: asdict(it) for name, it in self._levels.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self._drifts = {name: Drift(**it) for name, it in state["drifts"].items()}
        self._growths = {name: Growth(**it) for name, it in state["growths"].items()}
        self._levels = {name: Level(**it) for name, it in state["levels"].items()}


def _nonfinite_signs(record: dict[str, Any]) -> Iterator[Sign]:
    for network, share in _mapping(record, "nonfinite").items():
        if is_number(share) and share > 0:
            text = f"{share:.2%} of {network}'s numbers are NaN or infinite"
            yield Weight.conclusive, Reason("nonfinite", network, text)
    for name, value in _mapping(record, "loss").items():
        if not is_number(value):
            yield Weight.conclusive, Reason("nonfinite", name, f"loss of {name} is NaN or infinite")


def _mapping(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """What other people's logs may have under the same key in another shape is nothing."""
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def is_number(value: Any) -> bool:
    """Whether a value of a log is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
