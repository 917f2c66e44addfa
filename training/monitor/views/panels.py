"""Which figures a run has: what is in each, as data; `figures.py` draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import colormaps

from training.monitor.views.history import GROWTH_TICKS, Column, History, Key
from training.monitor.views.observed import ObservedRun

Colour = tuple[float, float, float]

_PLAIN: tuple[Colour, ...] = (
    (0.12, 0.33, 0.65),
    (0.78, 0.24, 0.15),
    (0.10, 0.52, 0.30),
    (0.50, 0.30, 0.62),
)
_GREY: Colour = (0.45, 0.45, 0.45)
_NETWORKS = {"G": "Generator", "D": "Discriminator"}
_SIGMAS = ("σ₀", "σ₁", "σ₂")


@dataclass(frozen=True)
class Line:
    """One series of a panel.

    Attributes:
        name: at its end.
        column: its values.
        colour: red, green, blue in [0, 1].
        bold: drawn thicker: the verdict names it.
        dashed: a reference.
        abandoned: what a rollback undid, oldest first.
        band: lowest and highest values around it, where they were recorded.
    """

    name: str
    column: Column
    colour: Colour
    bold: bool = False
    dashed: bool = False
    abandoned: tuple[Column, ...] = ()
    band: tuple[Column, Column] | None = None


@dataclass(frozen=True)
class Panel:
    """One figure: lines over iterations.

    Attributes:
        title: above it.
        lines: with values.
        ratio: a logarithmic axis is in order where the values span much.
        level: a value that means something, drawn as a line: 1 of growth and diversity.
        best: the lowest value of the first line is marked.
    """

    title: str
    lines: tuple[Line, ...]
    ratio: bool = False
    level: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Section:
    """Panels that belong together, with the colours that they share.

    Attributes:
        title: above them.
        panels: at least one.
        layers: names and colours, by depth; empty where each panel explains itself.
    """

    title: str
    panels: tuple[Panel, ...]
    layers: tuple[tuple[str, Colour], ...] = ()


class Panels:
    """Collects the panels of a run; what was never recorded is left out.

    Args:
        run: read to its end.
        abandoned: what rollbacks undid, each from the iteration that was gone back to.
    """

    def __init__(self, run: ObservedRun, abandoned: Sequence[tuple[float, History]]) -> None:
        self._run, self._abandoned = run, abandoned
        reasons = run.verdict.reasons if run.verdict is not None else ()
        self._named = {reason.where for reason in reasons}

    def sections(self) -> list[Section]:
        """All that have something to show, the spectra first."""
        found = [
            self._spectra("G"),
            self._spectra("D"),
            Section("Quality", self._quality()),
            Section("Losses and logits", self._game()),
            self._by_layer("G"),
            self._by_layer("D"),
        ]
        return [section for section in found if section.panels]

    def _spectra(self, network: str) -> Section:
        layers = self._layers(network)
        panels = [
            self._layer_panel(f"{sigma} of {network}", network, layers, (network,), (str(i),))
            for i, sigma in enumerate(_SIGMAS)
        ]
        return Section(f"{_NETWORKS[network]}: spectra", _known(panels), layers)

    def _by_layer(self, network: str) -> Section:
        layers = self._layers(network)
        kinds = {
            "gradient": f"Gradient norms of {network}",
            "update": f"Step of an update of {network}, ‖ΔW‖ / ‖W‖",
        }
        growth = f"Growth of σ₀ of {network} over {GROWTH_TICKS} readings"
        panels = [self._layer_panel(growth, network, layers, (network,), ("0",), growth=True)]
        panels += [
            self._layer_panel(title, network, layers, (kind, network), ())
            for kind, title in kinds.items()
        ]
        return Section(f"{_NETWORKS[network]}: growth, gradients, steps", _known(panels), layers)

    def _layers(self, network: str) -> tuple[tuple[str, Colour], ...]:
        """Layers with colours by depth, from blue to red."""
        history = self._run.spectra
        prefixes = ((network,), ("gradient", network), ("update", network))
        names = list(dict.fromkeys(name for p in prefixes for name in history.below(*p)))
        return tuple((name, _by_depth(i, len(names))) for i, name in enumerate(names))

    def _layer_panel(
        self,
        title: str,
        network: str,
        layers: Sequence[tuple[str, Colour]],
        before: Key,
        after: Key,
        *,
        growth: bool = False,
    ) -> Panel:
        lines = [
            self._line(
                layer,
                (*before, layer, *after),
                colour,
                bold=f"{network}.{layer}" in self._named,
                growth=growth,
            )
            for layer, colour in layers
        ]
        return Panel(title, _filled(lines), ratio=True, level=1.0 if growth else None)

    def _quality(self) -> tuple[Panel, ...]:
        panels = []
        for key, title in (("proxy_fid", "Proxy FID"), ("fid", "FID")):
            lines = self._lines([("samples", (key,))])
            real = Line("real images", self._run.spectra[f"{key}_real"], _GREY, dashed=True)
            panels.append(Panel(title, _filled([*lines, real]), ratio=True, best=True))
        score = self._lines([("samples", ("inception_score",))])
        panels.append(Panel("Inception score", score))
        kinds = self._run.spectra.below("diversity")
        diversity = self._lines([(kind, ("diversity", kind)) for kind in kinds])
        panels.append(Panel("Diversity, over that of real images", diversity, level=1.0))
        judged = [(n.replace("_", "-"), ("accuracy", n)) for n in ("train", "held_out", "fake")]
        panels.append(Panel("Share that D judges rightly", self._lines(judged)))
        return _known(panels)

    def _game(self) -> tuple[Panel, ...]:
        losses = self._lines([("D", ("loss", "d")), ("G", ("loss", "g"))])
        logits = self._lines([("real", ("logits", "real")), ("fake", ("logits", "fake"))])
        return _known([Panel("Losses", losses), Panel("Means of D's logits", logits)])

    def _lines(self, named: Sequence[tuple[str, Key]]) -> tuple[Line, ...]:
        return _filled(
            [self._line(name, key, _PLAIN[i % len(_PLAIN)]) for i, (name, key) in enumerate(named)]
        )

    def _line(
        self, name: str, key: Key, colour: Colour, *, bold: bool = False, growth: bool = False
    ) -> Line:
        source = self._run.spectra
        if not source[key]:  # losses of a run that ticks without them
            source = self._run.metrics
        columns = [history[key] for _, history in self._abandoned]
        column = source[key]
        if growth:
            column, columns = column.growth(), [c.growth() for c in columns]
        cut = [c.after(itr) for c, (itr, _) in zip(columns, self._abandoned, strict=True) if c]
        low, high = (source[(*key[:-1], f"{key[-1]}_{end}")] for end in ("min", "max"))
        return Line(
            name,
            column,
            colour,
            bold=bold,
            abandoned=tuple(cut),
            band=(low, high) if low and low.itrs == high.itrs else None,
        )


def _known(panels: Sequence[Panel]) -> tuple[Panel, ...]:
    return tuple(panel for panel in panels if panel.lines)


def _filled(lines: Sequence[Line]) -> tuple[Line, ...]:
    return tuple(line for line in lines if line.column)


def _by_depth(i: int, n: int) -> Colour:
    # Darkened: the middle of this map is too light for lines on white.
    red, green, blue, _ = colormaps["turbo"](0.04 + 0.92 * i / max(1, n - 1))
    return red * 0.85, green * 0.8, blue * 0.85
