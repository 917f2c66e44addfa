"""Study: the DCGAN with and without batch norm in the generator's linear layers, watched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from training.config import Recipe, load_recipe
from training.data import Images, load_dataset, load_held_out
from training.errors import CollapsedError, RunError, StudyStopped
from training.launch import launch
from training.monitor.views.observed import ObservedRun
from training.studies.dcgan_batchnorm_findings import Watched, claims, draw, words
from training.studies.study import Findings, Setting, Study

_RECIPE = "dcgan-emnist"
_RUNS = "runs"

Positive = Annotated[int, Field(gt=0)]


class Sizes(BaseModel):
    """The original sizes: those of the recipe `dcgan-emnist`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[Positive, Positive, Positive] = (256, 128, 64)
    linear_features: Positive = 1024
    std: float = Field(0.02, gt=0, description="of the initial weights")
    rate: float = Field(2e-4, gt=0, description="of both networks")
    batch_size: Annotated[int, Field(gt=1)] = 128
    epochs: Positive = 25
    max_itr: Positive | None = Field(None, description="stop earlier")
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (1, 2, 3)
    look_every: Positive = Field(500, description="iterations between looks at samples")
    samples: Annotated[int, Field(ge=64)] = Field(512, description="images of a look")


# Narrower layers need larger weights to pass on as much, and learn at higher rates.
_REDUCED = {
    "channels": (64, 32, 16),
    "linear_features": 256,
    "std": 0.04,
    "rate": 1e-3,
    "batch_size": 64,
    "max_itr": 1200,
    "seeds": (1, 2),
    "look_every": 100,
}
_QUICK = {
    "channels": (32, 16, 8),
    "linear_features": 128,
    "std": 0.06,
    "rate": 2e-3,
    "batch_size": 64,
    "max_itr": 150,
    "seeds": (1,),
    "look_every": 50,
    "samples": 128,
}


def run(setting: Setting) -> Findings:
    """Trains each, and reads what the monitor wrote down; run directories stay under `runs/`."""
    runs = setting.out / _RUNS
    if runs.exists():
        raise RunError(
            f"{setting.out} holds runs of a study that did not end; name another folder with --out"
        )
    sizes = setting.sizes(Sizes, reduced=_REDUCED, quick=_QUICK)
    recipes = {
        (batch_norm, seed): _recipe(sizes, batch_norm=batch_norm, seed=seed)
        for batch_norm in (True, False)
        for seed in sizes.seeds
    }
    recipe = next(iter(recipes.values()))
    resolution = recipe.network.resolution
    data = load_dataset(
        recipe.dataset, setting.data, resolution=resolution, download=setting.download
    )
    held_out = load_held_out(recipe.dataset, setting.data, resolution=resolution)
    watched = []
    for (batch_norm, seed), recipe in recipes.items():
        if setting.stop_requested():
            raise _stopped(runs)
        one = _train(setting, recipe, data, held_out, batch_norm=batch_norm, seed=seed)
        setting.say(f"{one.name}: {one.verdict}")
        watched.append(one)
    return Findings(
        study=STUDY.name,
        quick=setting.quick,
        settings=sizes.model_dump(mode="json") | {"recipe": _RECIPE, "images": len(data)},
        numbers={"runs": [one.to_json() for one in watched]},
        claims=claims(watched),
        figures=draw(setting, watched),
        words=words(watched),
    )


def _recipe(sizes: Sizes, *, batch_norm: bool, seed: int) -> Recipe:
    overrides = [
        f"seed={seed}",
        f"network.channels={list(sizes.channels)}",
        f"network.linear_features={sizes.linear_features}",
        f"network.linear_batch_norm={json.dumps(batch_norm)}",
        f"initializer.std={sizes.std}",
        f"optimizer.g_lr={sizes.rate}",
        f"optimizer.d_lr={sizes.rate}",
        f"batch_size={sizes.batch_size}",
        f"epochs={sizes.epochs}",
        f"max_itr={json.dumps(sizes.max_itr)}",
        f"sample_every={sizes.look_every}",
        f"monitor.look_every={sizes.look_every}",
        f"monitor.every={min(50, sizes.look_every)}",
        f"monitor.samples={sizes.samples}",
        "monitor.on_collapse=warn",
        "keep_checkpoints=1",
    ]
    return load_recipe(_RECIPE, overrides)


def _train(
    setting: Setting,
    recipe: Recipe,
    data: Images,
    held_out: Images | None,
    *,
    batch_norm: bool,
    seed: int,
) -> Watched:
    folder = setting.out / _RUNS / f"{'with' if batch_norm else 'without'}-{seed}"
    try:
        outcome = launch(
            recipe,
            data,
            folder,
            held_out=held_out,
            resume=False,
            device=setting.device,
            command=["ganagerie", "study", STUDY.name],
        )
    except CollapsedError as error:  # numbers that are no longer finite: its series says so
        setting.say(str(error))
    else:
        if not outcome.finished:
            raise _stopped(folder.parent)
    observed = ObservedRun(folder)
    observed.poll()
    return Watched(batch_norm, seed, observed)


def _stopped(runs: Path) -> StudyStopped:
    left = f"the runs are in {runs}" if runs.exists() else "nothing was written"
    return StudyStopped(f"stopped before there were results; {left}")


STUDY = Study(
    name="dcgan-batchnorm",
    title="The DCGAN with and without batch norm in its linear layers",
    question=(
        "Does the DCGAN on EMNIST collapse if the two linear layers of its generator have no batch "
        "norm, and what does the collapse monitor see?"
    ),
    source=(
        "The recipe dcgan-emnist, after Radford, Metz, Chintala 2015, who have batch norm in every "
        "layer of the generator but the last; the experiment that this repeats leaves it out of "
        "the linear ones."
    ),
    run=run,
)
