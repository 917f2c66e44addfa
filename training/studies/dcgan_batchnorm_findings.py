"""What the monitor saw of DCGANs with and without batch norm in their linear layers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.image import imread
from pydantic import JsonValue

from training.errors import StudyError
from training.monitor.readings import rounded
from training.monitor.verdict import Health, Verdict
from training.monitor.views.history import Column, Key
from training.monitor.views.observed import ObservedRun
from training.runlog import SAMPLES
from training.studies.drawing import drawing
from training.studies.study import Claim, Figure, Setting

_KINDS: Final = {True: "with", False: "without"}
_COLOURS: Final = {True: "#1f54a6", False: "#c73d26"}
_ALL = ("diversity", "all")
_VARIED: Final = 0.5  # of the diversity of real images


@dataclass(frozen=True)
class Watched:
    """One run.

    Attributes:
        batch_norm: whether G's linear layers have it.
        seed: of the run.
        run: read to its end.
    """

    batch_norm: bool
    seed: int
    run: ObservedRun

    @property
    def name(self) -> str:
        """For people."""
        return f"{_KINDS[self.batch_norm]} batch norm, seed {self.seed}"

    @property
    def verdict(self) -> Verdict:
        """At the end."""
        if self.run.verdict is None:
            raise StudyError(f"{self.run.path}: the monitor wrote nothing; set a larger max_itr")
        return self.run.verdict

    @property
    def worst(self) -> Verdict:
        """The first of the gravest verdicts."""
        order = list(Health)
        return max([*self.run.changes, self.verdict], key=lambda v: order.index(v.health))

    @property
    def collapsed(self) -> bool:
        """Whether it was ever said to have."""
        return self.worst.health is Health.collapsed

    @property
    def linears(self) -> list[str]:
        """Names of G's linear layers, in order."""
        return [name for name in self.run.spectra.below("G") if name.startswith("linears")]

    def column(self, *key: str) -> Column:
        """A series of the monitor."""
        return self.run.spectra[key]

    def to_json(self) -> dict[str, JsonValue]:
        """Verdicts and series."""
        keys: dict[str, Key] = {
            "proxy_fid": ("proxy_fid",),
            "proxy_fid_real": ("proxy_fid_real",),
            "diversity": _ALL,
            "loss_d": ("loss", "d"),
            "loss_g": ("loss", "g"),
            **{f"sigma0 {name}": ("G", name, "0") for name in self.linears},
        }
        series = {
            name: {"itr": self.column(*key).itrs, "value": self.column(*key).values}
            for name, key in keys.items()
        }
        found: dict[str, JsonValue] = rounded(
            {
                "batch_norm": self.batch_norm,
                "seed": self.seed,
                "verdicts": [verdict.to_record() for verdict in [*self.run.changes, self.verdict]],
                "series": series,
            }
        )
        return found


def claims(watched: Sequence[Watched]) -> tuple[Claim, ...]:
    """All of them."""
    return _collapses(watched), _one_point(watched)


def words(watched: Sequence[Watched]) -> str:
    """A paragraph."""
    told = ". ".join(
        f"{one.name[0].upper()}{one.name[1:]}: {one.verdict.health.value} at the end, at worst "
        f"{one.worst.health.value}, proxy FID {_end(one, 'proxy_fid'):.3g} (best "
        f"{_lowest(one):.3g}), diversity {_end(one, *_ALL):.2f} of that of real images"
        for one in watched
    )
    return f"{told}. After {watched[0].run.itr:,} iterations each."


def draw(setting: Setting, watched: Sequence[Watched]) -> tuple[Figure, ...]:
    """The series, and the samples of the last iteration."""
    return _series(setting, watched), _samples(setting, watched)


def _series(setting: Setting, watched: Sequence[Watched]) -> Figure:
    figure = Figure(
        name="watched",
        caption="What the monitor saw: Fréchet distance in features of a classifier of EMNIST "
        "(dotted: of as many real images), mean distance between two samples over that of real "
        "images, losses, and the top singular value of G's two linear layers",
    )
    with drawing(
        setting,
        figure,
        "The DCGAN with and without batch norm in its linear layers",
        rows=2,
        columns=3,
        panel=(3.7, 2.7),
    ) as axes:
        seeds = dict.fromkeys(one.seed for one in watched)
        styles = dict(zip(seeds, itertools.cycle(("-", "--", "-.")), strict=False))
        named: list[tuple[str, Key]] = [
            ("Proxy FID", ("proxy_fid",)),
            ("Diversity", _ALL),
            ("Loss of D", ("loss", "d")),
            ("Loss of G", ("loss", "g")),
        ]
        for axis, (title, key) in zip(axes, named, strict=False):
            for one in watched:
                _line(axis, one, one.column(*key), styles)
            axis.set_title(title, loc="left")
        axes[0].set_yscale("log")
        axes[0].axhline(
            watched[0].column("proxy_fid_real").newest or float("nan"), color="0.4", linestyle=":"
        )
        axes[1].axhline(1.0, color="0.4", linestyle=":")
        for depth, axis in enumerate(axes[len(named) :]):
            for one in watched:
                _line(axis, one, one.column("G", one.linears[depth], "0"), styles)
            axis.set_title(f"σ0 of G's linear layer {depth + 1}", loc="left")
        for axis in axes[3:]:
            axis.set_xlabel("iteration")
        handles, labels = axes[0].get_legend_handles_labels()
        axes[0].figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _line(axis: Axes, one: Watched, column: Column, styles: dict[int, str]) -> None:
    axis.plot(
        column.itrs,
        column.values,
        color=_COLOURS[one.batch_norm],
        linewidth=1.2,
        linestyle=styles[one.seed],
        label=one.name,
    )


def _samples(setting: Setting, watched: Sequence[Watched]) -> Figure:
    figure = Figure(
        name="samples",
        caption="Samples of the average generator in the last iteration, of the same z; a run each",
    )
    columns = len(watched)
    with drawing(setting, figure, "Samples at the end", columns=columns, panel=(2.9, 3.1)) as axes:
        for axis, one in zip(axes, watched, strict=True):
            newest = max((one.run.path / SAMPLES).glob("*.png"), default=None)
            if newest is not None:
                axis.imshow(imread(newest), cmap="gray")
            axis.set_title(one.name, loc="left", fontsize=9)
            axis.set_axis_off()
    return figure


def _end(one: Watched, *key: str) -> float:
    newest = one.column(*key).newest
    return float("nan") if newest is None else newest


def _lowest(one: Watched) -> float:
    lowest = one.column("proxy_fid").lowest()
    return float("nan") if lowest is None else lowest[1]


def _collapses(watched: Sequence[Watched]) -> Claim:
    told = "; ".join(
        f"{one.name}: {one.worst.health.value}"
        + (f" from iteration {one.worst.itr:,}" if one.worst.reasons else "")
        for one in watched
    )
    without = [one.collapsed for one in watched if not one.batch_norm]
    with_it = [one.collapsed for one in watched if one.batch_norm]
    agrees: bool | None = None  # some do and some do not, or they were too short to learn
    if any(with_it) or (not any(without) and _learned(watched)):
        agrees = False
    elif all(without):
        agrees = True
    return Claim(
        author="Without batch norm in the generator's linear layers the DCGAN collapses; with it, "
        "it does not.",
        found=f"Collapsed, by the monitor: {sum(without)} of {len(without)} without, "
        f"{sum(with_it)} of {len(with_it)} with. Gravest verdicts in {watched[0].run.itr:,} "
        f"iterations: {told}.",
        agrees=agrees,
    )


def _one_point(watched: Sequence[Watched]) -> Claim:
    ends = {
        kind: [_end(one, *_ALL) for one in watched if one.batch_norm is kind] for kind in _KINDS
    }
    told = "; ".join(
        f"{_KINDS[kind]} {', '.join(f'{value:.3f}' for value in values)}"
        for kind, values in ends.items()
    )
    return Claim(
        author="Batch norm keeps the generator from collapsing all samples to a single point "
        "(Radford et al. 2015, section 3).",
        found=f"Mean distance between two samples at the end, over that of real images: {told}.",
        agrees=max(ends[False]) < min(ends[True]) if _learned(watched) else None,
    )


def _learned(watched: Sequence[Watched]) -> bool:
    """Whether the runs with batch norm were long enough to learn to vary their samples."""
    return all(_end(one, *_ALL) >= _VARIED for one in watched if one.batch_norm)
