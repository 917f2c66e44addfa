"""Gains of the initial weights, under RMSprop and Adam, on a sequence model and on the DCGAN.

The original has Glorot-uniform weights times g1 in convolutions and truncated normal ones times g2
in dense layers, its truncation approximated by fmod. Both gains are varied, and held against other
starts.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from training.studies.digits import load_digits
from training.studies.initializer_dcgan import DcganRuns, recipe_of
from training.studies.initializer_figures import Outcome, draw_curves, draw_ends, draw_gains
from training.studies.initializer_folding import Folding, study_folding
from training.studies.initializer_sequences import train_sequences
from training.studies.initializer_starts import OPTIMIZERS, Ending, Start, starts_of
from training.studies.study import Claim, Findings, Setting, Study

Positive = Annotated[int, Field(gt=0)]
Gain = Annotated[float, Field(gt=0)]

_DEFAULT: Final = "torch's default"
_DENSITY_SAMPLES: Final = 2_000_000


class Sizes(BaseModel):
    """Sizes of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gains: tuple[Gain, ...] = Field((1.0, math.sqrt(2.0), 2.0), min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((1, 2, 3), min_length=1)
    sequence_images: Positive = Field(24_000, description="for training, at most")
    sequence_epochs: Positive = 20
    sequence_width: Positive = 128
    sequence_lr: float = Field(1e-3, gt=0)
    sequence_batch_size: Annotated[int, Field(gt=1)] = 64
    dcgan_itrs: Positive = 5_000
    dcgan_batch_size: Annotated[int, Field(gt=1)] = 64
    dcgan_channels: tuple[Positive, Positive, Positive] = (64, 32, 16)
    dcgan_linear_features: Positive = 256
    dcgan_samples: Annotated[int, Field(gt=1)] = Field(5_000, description="for each distance")


def run(setting: Setting) -> Findings:
    """Distributions first, then every start on both models."""
    sizes = setting.sizes(
        Sizes,
        reduced={
            "seeds": [1, 2],
            "sequence_images": 4_000,
            "sequence_epochs": 5,
            "sequence_width": 32,
            "dcgan_batch_size": 32,
            "dcgan_itrs": 150,
            "dcgan_samples": 1_000,
        },
        quick={
            "gains": [1.0, 2.0],
            "seeds": [1],
            "sequence_images": 640,
            "sequence_epochs": 2,
            "sequence_width": 16,
            "dcgan_batch_size": 32,
            "dcgan_itrs": 20,
            "dcgan_channels": [16, 8, 4],
            "dcgan_linear_features": 64,
            "dcgan_samples": 200,
        },
    )
    folding, truncation = study_folding(setting, _DENSITY_SAMPLES, sizes.seeds[0])
    starts = starts_of(sizes.gains)
    sequences = _sequences(setting, sizes, starts)
    dcgan = _dcgan(setting, sizes, starts)
    outcomes = (sequences, dcgan)
    figures = (
        draw_gains(setting, outcomes, starts),
        draw_ends(setting, outcomes, starts),
        *(draw_curves(setting, outcome, starts) for outcome in outcomes),
        truncation,
    )
    numbers: dict[str, Any] = {"folding": asdict(folding)} | {
        outcome.name: {
            optimizer: {
                start.name: [asdict(e) for e in outcome.endings[optimizer, start.name]]
                for start in starts
            }
            for optimizer in OPTIMIZERS
        }
        for outcome in outcomes
    }
    return Findings(
        study=STUDY.name,
        quick=setting.quick,
        settings=sizes.model_dump(mode="json"),
        numbers=numbers,
        claims=(folding_claim(folding), *(gains_claim(o, starts) for o in outcomes)),
        figures=figures,
        words=" ".join(_words(outcome, starts) for outcome in outcomes),
    )


def _sequences(setting: Setting, sizes: Sizes, starts: list[Start]) -> Outcome:
    data = (
        load_digits(setting, train=True, most=sizes.sequence_images),
        load_digits(setting, train=False),
    )
    endings: dict[tuple[str, str], list[Ending]] = {}
    runs = [(o, start, seed) for o in OPTIMIZERS for start in starts for seed in sizes.seeds]
    for optimizer, start, seed in setting.track(runs, "sequence model: runs"):
        ending = train_sequences(
            start,
            optimizer,
            data,
            width=sizes.sequence_width,
            epochs=sizes.sequence_epochs,
            batch_size=sizes.sequence_batch_size,
            lr=sizes.sequence_lr,
            seed=seed,
            device=setting.device,
        )
        endings.setdefault((optimizer, start.name), []).append(ending)
    return Outcome(
        "sequences",
        "Sequence model",
        "training cross-entropy",
        "cross-entropy of test digits",
        "epoch",
        endings,
    )


def _dcgan(setting: Setting, sizes: Sizes, starts: list[Start]) -> Outcome:
    data = load_digits(setting, train=True)
    endings: dict[tuple[str, str], list[Ending]] = {}
    runs = {
        seed: DcganRuns(
            recipe_of(
                sizes.dcgan_channels, sizes.dcgan_linear_features, sizes.dcgan_batch_size, seed
            ),
            data,
            sizes.dcgan_samples,
            setting.device,
        )
        for seed in sizes.seeds
    }
    which = [(o, start, seed) for o in OPTIMIZERS for start in starts for seed in sizes.seeds]
    for optimizer, start, seed in setting.track(which, "DCGAN: runs"):
        ending = runs[seed].train(start, optimizer, sizes.dcgan_itrs)
        endings.setdefault((optimizer, start.name), []).append(ending)
    return Outcome(
        "dcgan",
        "DCGAN",
        "the generator's loss",
        f"Fréchet distance of {sizes.dcgan_samples:,}",
        "part of the run",
        endings,
    )


def folding_claim(folding: Folding) -> Claim:
    """Whether weights folded by fmod could be of a truncated normal."""
    return Claim(
        author="The remainder by two standard deviations makes a truncated normal.",
        found=f"Of {folding.samples:,} weights the variance is {folding.folded_variance:.4f} "
        f"instead of {folding.truncated_variance:.4f}, and up to {folding.distance:.2%} of them "
        "are on another side of a bound. Probability of coming from the truncated normal: "
        f"{folding.p_folded:.1g}; of exact samples {folding.p_exact:.2g}.",
        agrees=folding.p_folded > 1e-3,
    )


def gains_claim(outcome: Outcome, starts: list[Start]) -> Claim:
    """The grid's best start against torch's default, by optimiser.

    It is told from these runs only where all seeds say the same under both optimisers.
    """
    found, better = [], set()
    for optimizer in OPTIMIZERS:
        grid = {s.name: outcome.final(optimizer, s.name) for s in starts if s.gains}
        best = min(grid, key=lambda name: grid[name])
        default = outcome.final(optimizer, _DEFAULT)
        found.append(f"{optimizer}: {grid[best]:.3g} with {best}, {default:.3g} by default")
        ours, theirs = (outcome.endings[optimizer, name] for name in (best, _DEFAULT))
        better |= {a.score < b.score for a, b in zip(ours, theirs, strict=True)}
    return Claim(
        author=f"{outcome.title}: such gains are worth having instead of torch's default (the "
        "author says so by using them).",
        found=f"{outcome.score}: {'; '.join(found)}. The best of {len(grid)} starts is held "
        "against one, which favours it.",
        agrees=better.pop() if len(better) == 1 else None,
    )


def _words(outcome: Outcome, starts: list[Start]) -> str:
    parts = []
    for optimizer in OPTIMIZERS:
        final = {start.name: outcome.final(optimizer, start.name) for start in starts}
        ranked = sorted(final, key=lambda name: final[name])
        parts.append(
            f"under {optimizer} from {final[ranked[0]]:.3g} ({ranked[0]}) to "
            f"{final[ranked[-1]]:.3g} ({ranked[-1]})"
        )
    return f"{outcome.title}, {outcome.score}: {', '.join(parts)}."


STUDY = Study(
    name="initializers",
    title="Gains of the initial weights, and the optimiser that meets them",
    question="Do gains of Glorot-uniform convolutions and truncated normal dense layers matter, "
    "next to other starts, under RMSprop and Adam?",
    source="Starts with two gains, tried on a sequence model under RMSprop; here on rows of EMNIST "
    "digits instead of its data, and on the DCGAN.",
    run=run,
)
