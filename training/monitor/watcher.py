"""`CollapseMonitor`: watches somebody's GAN while it trains, in three lines.

monitor = CollapseMonitor(generator=G, discriminator=D)
for itr in range(1, total + 1):
    ...
    verdict = monitor.observe(itr, losses={"d": loss_d, "g": loss_g})
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from training.monitor.collapse import Detector
from training.monitor.readings import (
    Updates,
    gradient_norms,
    nonfinite_share,
    number,
    rounded,
)
from training.monitor.spectra import Spectra, worst_errors
from training.monitor.verdict import Health, Verdict

Scalars = Mapping[str, float | Tensor]


class CollapseMonitor:
    """Reads two networks now and then, and says how the run is.

    Call `observe` after every iteration. It never changes a network, an optimiser or a random
    state. Between ticks it costs next to nothing.

    Args:
        generator: any module.
        discriminator: any module.
        every: iterations between ticks: spectra, gradients, updates, losses.
        look: called every `look_every` iterations; what it returns joins the record: `proxy_fid`
            or `fid`, `diversity`, `accuracy` (see `training.monitor.look.Look`).
        look_every: see `look`.
        audit: compare every spectrum with a full decomposition, under the key `audit`; slow.
        log: a file that gets one JSON line a tick, which `ganagerie monitor` reads.
    """

    def __init__(
        self,
        *,
        generator: nn.Module,
        discriminator: nn.Module,
        every: int = 50,
        look: Callable[[], Mapping[str, Any]] | None = None,
        look_every: int = 500,
        audit: bool = False,
        log: Path | None = None,
    ) -> None:
        if every < 1 or look_every < 1:
            raise ValueError(f"every {every}, look_every {look_every}: must be 1 or more")
        self._networks = {"G": generator, "D": discriminator}
        self._spectra = {name: Spectra(network) for name, network in self._networks.items()}
        self._updates = {name: Updates(network) for name, network in self._networks.items()}
        self._detector = Detector()
        self._every, self._look, self._look_every = every, look, look_every
        self._audit, self._log = audit, log
        self.record: dict[str, Any] = {}
        """What the newest tick saw."""
        self.verdict = Verdict(0)

    def observe(
        self,
        itr: int,
        losses: Scalars | None = None,
        logits: Scalars | None = None,
        *,
        look: bool = False,
        **more: float,
    ) -> Verdict:
        """After an iteration, counted from 1.

        Args:
            itr: the iteration.
            losses: `d` and `g`.
            logits: means of D's logits: `real` and `fake`.
            look: look at samples now, whatever the interval.
            more: further numbers for the record: `fid`, `images_seen`.
        """
        look = look or itr % self._look_every == 0
        if itr % self._every == 0 or look or not (self.collapsed or _finite(losses)):
            self._tick(itr, losses, logits, more, look)
        if (itr + 1) % self._every == 0:
            for updates in self._updates.values():
                updates.remember()
        return self.verdict

    def _tick(
        self,
        itr: int,
        losses: Scalars | None,
        logits: Scalars | None,
        more: Mapping[str, float],
        look: bool,
    ) -> None:
        began_s = time.perf_counter()
        record: dict[str, Any] = {"itr": itr, **more}
        for name, spectra in self._spectra.items():
            record[name] = spectra.tick()
        if self._audit:
            record["audit"] = {
                name: worst_errors(record[name], spectra.exact())
                for name, spectra in self._spectra.items()
            }
        record["loss"] = _numbers(losses)
        record["logits"] = _numbers(logits)
        record["gradient"] = {n: gradient_norms(it) for n, it in self._networks.items()}
        moved = {name: updates.read() for name, updates in self._updates.items()}
        record["update"] = {name: sizes for name, sizes in moved.items() if sizes}
        record["nonfinite"] = {n: nonfinite_share(it) for n, it in self._networks.items()}
        if look and self._look is not None:
            record |= self._look()
        record["monitor_s"] = time.perf_counter() - began_s
        self.record = {key: value for key, value in rounded(record).items() if value != {}}
        self.verdict = self._detector.observe(self.record)
        if self._log is not None:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.record) + "\n")

    def finite(self) -> bool:
        """Whether all weights and buffers are finite numbers."""
        return not any(map(nonfinite_share, self._networks.values()))

    @property
    def collapsed(self) -> bool:
        """Whether the newest verdict is `collapsed`."""
        return self.verdict.health is Health.collapsed

    @property
    def first_sign_after(self) -> int | None:
        """The last iteration before the first sign, also while it makes no suspicion yet."""
        return self._detector.first_sign_after

    def forget(self) -> None:
        """Judges as if the run began now."""
        self._detector = Detector()
        self.verdict = self._detector.verdict
        for updates in self._updates.values():
            updates.forget()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values from which a resumed run goes on to the same verdicts.

        To be taken between `observe` and the next update.
        """
        return {
            "update_next": any(updates.remembers for updates in self._updates.values()),
            "spectra": {name: spectra.state_dict() for name, spectra in self._spectra.items()},
            "detector": self._detector.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave; the networks have their weights of then."""
        for updates in self._updates.values():
            updates.forget()
            if state.get("update_next"):
                updates.remember()
        for name, spectra in self._spectra.items():
            spectra.load_state_dict(state["spectra"][name])
        self._detector.load_state_dict(state["detector"])
        self.verdict = self._detector.verdict


def _numbers(scalars: Scalars | None) -> dict[str, float | None]:
    return {name: number(_plain(value)) for name, value in (scalars or {}).items()}


def _finite(losses: Scalars | None) -> bool:
    """Whether all are finite, as far as can be seen without waiting for a GPU."""
    here = [v for v in (losses or {}).values() if not isinstance(v, Tensor) or not v.is_cuda]
    return all(math.isfinite(_plain(value)) for value in here)


def _plain(value: float | Tensor) -> float:
    return float(value.item()) if isinstance(value, Tensor) else float(value)
