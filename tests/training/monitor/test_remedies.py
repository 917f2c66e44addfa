"""What each remedy changes in a recipe."""

from __future__ import annotations

from typing import Any

import pytest

from tests.training.small_biggan import small
from training.config import Recipe, load_recipe
from training.errors import RecipeError
from training.monitor.remedies import differences, remedied
from training.monitor.verdict import Health, Reason, Verdict


def verdict(*layers: str) -> Verdict:
    reasons = tuple(Reason("sigma0", layer, "") for layer in layers)
    return Verdict(7, Health.collapsed, (*reasons, Reason("quality", "", "")), 3)


def changed(recipe: Recipe, *layers: str) -> dict[str, Any]:
    return differences(recipe, remedied(recipe, verdict(*layers)))


def test_lower_rates() -> None:
    recipe = small("monitor.remedies=[lower-rates]")
    assert changed(recipe) == {"optimizer.g_lr": 1e-4, "optimizer.d_lr": 2e-4}
    recipe = small("monitor.remedies=[lower-g-rate]")
    assert changed(recipe) == {"optimizer.g_lr": 1e-4}


def test_a_blind_discriminator_learns_at_least_as_fast_as_the_generator() -> None:
    blind = Verdict(7, Health.collapsed, (Reason("logits", "", ""),), 3)
    recipe = small("monitor.remedies=[strengthen-d]", "optimizer.d_lr=1e-6")
    assert differences(recipe, remedied(recipe, blind)) == {"optimizer.d_lr": 2e-4}
    recipe = small("monitor.remedies=[strengthen-d]", "optimizer.d_lr=2e-4")
    assert differences(recipe, remedied(recipe, blind)) == {"optimizer.d_lr": 4e-4}
    assert changed(recipe, "G.linear") == {}


def test_more_d_steps_up_to_eight() -> None:
    assert changed(small("monitor.remedies=[more-d-steps]", "d_steps=7")) == {"d_steps": 8}
    assert changed(small("monitor.remedies=[more-d-steps]", "d_steps=8")) == {}
    assert changed(load_recipe("dcgan-emnist", ["monitor.remedies=[more-d-steps]"])) == {}


def test_clamps_are_of_layers_of_the_generator_that_are_named() -> None:
    recipe = small("monitor.remedies=[clamp-sigma0]")
    assert changed(recipe) == {}
    assert changed(recipe, "D.linear") == {}
    once = remedied(recipe, verdict("G.linear", "D.linear"))
    clamp = once.penalties.sigma0_clamp
    assert clamp is not None
    assert (clamp.ratio, clamp.sigma_reg, clamp.layers) == (1.2, None, ("linear",))
    assert changed(once, "G.linear") == {}
    assert changed(once, "G.conv") == {"penalties.sigma0_clamp.layers": ["conv", "linear"]}


def test_a_clamp_of_all_layers_stays_one() -> None:
    recipe = small("monitor.remedies=[clamp-sigma0]", "penalties.sigma0_clamp.sigma_reg=2")
    assert changed(recipe, "G.linear") == {}


def test_several_in_turn_and_none() -> None:
    recipe = small("monitor.remedies=[lower-g-rate,clamp-sigma0,lower-g-rate]")
    assert changed(recipe, "G.conv").keys() == {
        "optimizer.g_lr",
        *(f"penalties.sigma0_clamp.{key}" for key in ("sigma_reg", "ratio", "layers")),
    }
    assert remedied(recipe, verdict()).optimizer.g_lr == 5e-5
    assert changed(small("monitor.remedies=[]"), "G.conv") == {}


def test_an_unknown_remedy_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"monitor\.remedies\.0 = 'pray'.*'lower-rates'"):
        small("monitor.remedies=[pray]")
