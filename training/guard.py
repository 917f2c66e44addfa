"""Guards a run: watches it, keeps its good checkpoints, and decides what a verdict leads to."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from training import checkpoint
from training.classifier import load_classifier
from training.data import Images
from training.errors import CollapsedError, DivergedError, RecipeError
from training.metrics.features import find_classifier
from training.monitor.config import MonitorConfig
from training.monitor.look import FEWEST_IMAGES, Look
from training.monitor.proxy_features import Extractor, classifier_features, random_features
from training.monitor.remedies import differences, remedied
from training.monitor.verdict import Health, Verdict
from training.monitor.watcher import CollapseMonitor
from training.runlog import RunLog
from training.state import TrainingState
from zoo.nets.classifier import SIDE

_QUALITY = "proxy_fid"


class Action(IntEnum):
    """What follows an iteration; of several processes' wishes the highest counts."""

    go_on = 0
    stop = 1  # somebody asked for it
    roll_back = 2
    give_up = 3  # a collapse, and no remedy


class Guard:
    """The leading process's monitor, with what it does about a collapse.

    Args:
        state: of the run; its recipe says how it is watched.
        data: the training images.
        held_out: images that D does not see; None where there are none.
        log: the run directory.
    """

    def __init__(
        self, state: TrainingState, data: Images, held_out: Images | None, log: RunLog
    ) -> None:
        self._state, self._log = state, log
        self._config = config = state.recipe.monitor
        look = None
        if len(data) >= FEWEST_IMAGES:
            compare = Look(
                data,
                held_out,
                _extractor(config, state.recipe.dataset, data),
                z_dim=state.recipe.network.z_dim,
                conditional=state.recipe.alternates,
                samples=config.samples,
            )
            look = partial(compare, state.generator, state.discriminator)
        self.monitor = CollapseMonitor(
            generator=state.generator,
            discriminator=state.discriminator,
            every=config.every,
            look=look,
            look_every=config.look_every,
            audit=config.audit,
        )
        self._best = float("inf")
        self._rollbacks = 0

    def observe(self, outcome: Mapping[str, Tensor], images_seen: int, *, look: bool) -> Verdict:
        """After an iteration; a tick is written down. `look` asks for a look at samples."""
        before, itr = self.monitor.record, self._state.itr
        verdict = self.monitor.observe(
            itr,
            losses={"d": outcome["loss_d"], "g": outcome["loss_g"]},
            logits={"real": outcome["real"], "fake": outcome["fake"]},
            look=look,
            images_seen=images_seen,
        )
        if self.monitor.record is not before:
            self._log.spectra(self.monitor.record, verdict)
        return verdict

    def action(self) -> Action:
        """What the newest verdict leads to."""
        if not self.monitor.collapsed:
            return Action.go_on
        if self._config.on_collapse == "warn" and not self._diverged:
            return Action.go_on
        back = self._before_suspicion() is not None and self._rollbacks < self._config.max_rollbacks
        if self._config.on_collapse == "rollback" and back:
            return Action.roll_back
        return Action.give_up

    def save(self) -> None:
        """Saves a checkpoint, unless a network is no longer finite.

        The newest one from before the first sign stays, and so does the best one by proxy FID.
        """
        if not self.monitor.finite():
            return
        best = self._is_best()  # noted before it is saved, so that a resumed run knows
        state = self._state.state_dict() | {"monitor": self.state_dict()}
        folder, keep = self._log.checkpoints, self._state.recipe.keep_checkpoints
        path = checkpoint.save(folder, self._state.itr, state, keep, self._before_suspicion())
        if best:
            checkpoint.keep_as_best(path)

    def _is_best(self) -> bool:
        record = self.monitor.record
        quality = record.get(_QUALITY) if record.get("itr") == self._state.itr else None
        if quality is None or self.monitor.verdict.health is not Health.healthy:
            return False
        if quality >= self._best:
            return False
        self._best = quality
        return True

    def roll_back(self) -> int:
        """Prepares a checkpoint from before the suspicion to be gone on with.

        It is written anew with the remedied recipe; what followed is kept under `rollbacks/`, and
        later checkpoints are set aside. Killed at any moment of it, the run can be resumed: from a
        later checkpoint, or from this one. Returns its iteration.
        """
        verdict, saved = self.monitor.verdict, self._refuge()
        recipe = remedied(self._state.recipe, verdict)
        saved["recipe"] = recipe.model_dump(mode="json")
        self._rollbacks += 1
        if saved.get("monitor") is not None:  # none: a checkpoint from before there was a monitor
            saved["monitor"] |= {"rollbacks": self._rollbacks, "best": self._best}
        itr = int(saved["itr"])
        checkpoint.write(checkpoint.at(self._log.checkpoints, itr), saved)
        self._log.event(
            {
                **verdict.to_record(),
                "event": "rollback",
                "to_itr": itr,
                "changed": differences(self._state.recipe, recipe),
            }
        )
        self._log.roll_back(itr, recipe)
        return itr

    def _refuge(self) -> dict[str, Any]:
        """The newest checkpoint from before the first sign; from the second time on the best one.

        A harm that is only seen late is in the newest one already.
        """
        path, best = self._before_suspicion(), self._log.checkpoints / checkpoint.BEST
        if path is None:
            raise RuntimeError("no checkpoint to go back to: action() would have said so")
        saved = checkpoint.load(path)
        if self._rollbacks and best.exists():
            other = checkpoint.load(best)
            return other if other["itr"] < saved["itr"] else saved
        return saved

    @property
    def _diverged(self) -> bool:
        return any(reason.signal == "nonfinite" for reason in self.monitor.verdict.reasons)

    def give_up(self) -> CollapsedError:
        """Sets aside checkpoints from after the first sign; says where the run can go on."""
        verdict, path = self.monitor.verdict, self._before_suspicion()
        self._log.event({**verdict.to_record(), "event": "stop"})
        if verdict.since is not None:
            checkpoint.set_aside(self._log.checkpoints, verdict.since + 1)
        reasons = "; ".join(map(str, verdict.reasons))
        lower = f"--set optimizer.g_lr={self._state.recipe.optimizer.g_lr / 2:g}"
        if path is None:
            way = (
                "No checkpoint is from before it. Start a new run: another folder with --out, and "
                f"{lower}"
            )
        else:
            way = (
                f"Later checkpoints are set aside; {path} is from before it. Go on from there with "
                f"--resume, and --on-collapse rollback or {lower}"
            )
        kind = DivergedError if self._diverged else CollapsedError
        return kind(f"iteration {verdict.itr}: the run has collapsed: {reasons}. {way}")

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on to the same verdicts."""
        state = self.monitor.state_dict()
        return state | {"rollbacks": self._rollbacks, "best": self._best}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Restores what `state_dict` gave; None is a checkpoint of a run without a monitor."""
        self._config = self._state.recipe.monitor
        if state is None:
            self.monitor.forget()
            return
        self.monitor.load_state_dict(state)
        self._rollbacks, self._best = state["rollbacks"], state["best"]

    def _before_suspicion(self) -> Path | None:
        since = self.monitor.first_sign_after
        if since is None:
            return None
        return checkpoint.newest(self._log.checkpoints, before=since + 1)


def _extractor(config: MonitorConfig, dataset: str, data: Images) -> Extractor:
    suits = dataset == "emnist-balanced" and (data.resolution, data.channels) == (SIDE, 1)
    if config.features == "classifier" and not suits:
        raise RecipeError(
            f"monitor.features = classifier: there is one of emnist-balanced at {SIDE} px, not of "
            f"{dataset} at {data.resolution} px; use auto or random"
        )
    if config.features == "random" or not suits:
        return random_features(data.channels)
    return classifier_features(load_classifier(find_classifier(None)).network)
