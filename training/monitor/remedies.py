"""What a rollback changes in a recipe: remedies by name, each from a recipe to another one."""

from __future__ import annotations

from collections.abc import Callable

from training.config import Recipe, Sigma0ClampConfig
from training.monitor.config import RemedyName
from training.monitor.verdict import Verdict

_LOWER = 0.5
_RATIO = 1.2  # of sigma0 to sigma1; the paper's appendix D tries values near it
_MOST_D_STEPS = 8


def remedied(recipe: Recipe, verdict: Verdict) -> Recipe:
    """The recipe with the remedies that it names, in turn, as far as they apply."""
    for name in recipe.monitor.remedies:
        recipe = _REMEDIES[name](recipe, verdict)
    return Recipe.model_validate(recipe.model_dump())


def _lower_rates(recipe: Recipe, verdict: Verdict) -> Recipe:
    """Halves both learning rates."""
    adam = recipe.optimizer
    lower = {"g_lr": adam.g_lr * _LOWER, "d_lr": adam.d_lr * _LOWER}
    return recipe.model_copy(update={"optimizer": adam.model_copy(update=lower)})


def _lower_g_rate(recipe: Recipe, verdict: Verdict) -> Recipe:
    """Halves the generator's learning rate."""
    adam = recipe.optimizer
    lower = {"g_lr": adam.g_lr * _LOWER}
    return recipe.model_copy(update={"optimizer": adam.model_copy(update=lower)})


def _strengthen_d(recipe: Recipe, verdict: Verdict) -> Recipe:
    """Where D no longer tells real from fake: its rate up to G's, or doubled (Heusel et al. 2017).

    With a D that learns faster than G, two time-scale updates converge.
    """
    if not any(reason.signal == "logits" for reason in verdict.reasons):
        return recipe
    adam = recipe.optimizer
    faster = adam.g_lr if adam.d_lr < adam.g_lr else 2.0 * adam.d_lr
    return recipe.model_copy(update={"optimizer": adam.model_copy(update={"d_lr": faster})})


def _clamp_sigma0(recipe: Recipe, verdict: Verdict) -> Recipe:
    """Clamps sigma0 of the layers of G that the verdict names (BigGAN, appendix D)."""
    named = {
        reason.where.removeprefix("G.")
        for reason in verdict.reasons
        if reason.signal == "sigma0" and reason.where.startswith("G.")
    }
    before = recipe.penalties.sigma0_clamp
    if not named or (before is not None and not before.layers):
        return recipe
    if before is None:
        clamp = Sigma0ClampConfig(ratio=_RATIO, layers=tuple(sorted(named)))
    else:
        clamp = before.model_copy(update={"layers": tuple(sorted({*before.layers, *named}))})
    penalties = recipe.penalties.model_copy(update={"sigma0_clamp": clamp})
    return recipe.model_copy(update={"penalties": penalties})


def _more_d_steps(recipe: Recipe, verdict: Verdict) -> Recipe:
    """One more update of D for each of G, up to 8; not where both learn from the same fakes."""
    if not recipe.alternates or recipe.d_steps >= _MOST_D_STEPS:
        return recipe
    return recipe.model_copy(update={"d_steps": recipe.d_steps + 1})


_REMEDIES: dict[RemedyName, Callable[[Recipe, Verdict], Recipe]] = {
    "lower-rates": _lower_rates,
    "lower-g-rate": _lower_g_rate,
    "strengthen-d": _strengthen_d,
    "clamp-sigma0": _clamp_sigma0,
    "more-d-steps": _more_d_steps,
}


def differences(before: Recipe, after: Recipe) -> dict[str, object]:
    """What changed, by dotted key: `{"optimizer.g_lr": 1e-4}`."""
    old, new = _flat(before.model_dump(mode="json")), _flat(after.model_dump(mode="json"))
    return {key: value for key, value in new.items() if key not in old or old[key] != value}


def _flat(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
