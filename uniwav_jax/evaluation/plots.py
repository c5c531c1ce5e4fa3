"""Plots of curves as inline SVG, for pages that `page` writes.

Colours, the light and the dark ones, are in page.css. page.js shows the values under the pointer,
which it computes from the points of the polylines and from the scales in the attributes `data-x`
and `data-y`.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from matplotlib import ticker

from uniwav_jax.evaluation import curves
from uniwav_jax.evaluation.curves import Curve

WIDTH, HEIGHT = 480, 200  # of a plot, in units of the SVG
LEFT, RIGHT, TOP, BOTTOM = 58, 8, 8, 22  # margins
POINTS = 1000  # of a curve at most
MEANS = 200  # points of the mean of a longer curve
DOTS = 30  # points of a curve up to which each one has a dot
LOGARITHMIC = 50.0  # ratio of the largest to the smallest value from which the scale is logarithmic


@dataclasses.dataclass(frozen=True)
class Scale:
    """A linear or logarithmic scale from values to units of the SVG.

    Attributes:
        low: value at the `first` unit.
        high: value at the `last` unit.
        first: unit; for the vertical scale it is the bottom and larger than `last`.
        last: unit.
        log: whether it is logarithmic.
    """

    low: float
    high: float
    first: float
    last: float
    log: bool = False

    def __call__(self, values: np.ndarray | float) -> np.ndarray:
        """Units of values, float64 of the same shape."""
        low, high, values = (np.log(v) if self.log else v for v in (self.low, self.high, values))
        return self.first + (values - low) / (high - low) * (self.last - self.first)

    def ticks(self) -> list[float]:
        """Round values on the scale, about five."""
        chosen = ticker.MaxNLocator(5).tick_values(self.low, self.high)
        if self.log:
            powers = np.arange(math.floor(math.log10(self.low)), math.log10(self.high))
            chosen = [float(f"{m}e{power:.0f}") for power in powers for m in (1, 2, 5)]
            if self.high / self.low > 500:
                chosen = chosen[:: 3 * math.ceil(len(powers) / 7)]
        return [float(value) for value in chosen if self.low <= value <= self.high]

    def attribute(self) -> str:
        """The scale for page.js."""
        ends = f"{self.low:.8g} {self.high:.8g} {self.first:g} {self.last:g}"
        return ends + (" log" if self.log else "")


def plot(
    name: str,
    lines: Mapping[str, Curve],
    *,
    references: Mapping[str, Sequence[Curve]] | None = None,
    guides: Mapping[str, float] | None = None,
    last_step: int,
    may_be_log: bool = True,
) -> str:
    """A plot with its legend, as HTML.

    Args:
        name: of the metric.
        lines: {"training" or "held-out": curve}, each with a finite value. Of a curve with more
            than `POINTS` points the extremes are drawn pale, and the mean as a line.
        references: {"training" or "held-out": curves of other runs, each with a finite value}. One
            is drawn as a curve, several as the band between their lowest and highest values.
        guides: {label: value} of horizontal lines, drawn where they are on the scale.
        last_step: of the horizontal axis, which begins at 0.
        may_be_log: whether the vertical axis is logarithmic where all values are positive and span
            a factor of `LOGARITHMIC`.
    """
    behind, drawn, bands, last = {}, {}, {}, {}
    for label, curve in lines.items():
        last[label] = f"{curve.finite.values[-1]:.4g}"
        drawn[label] = curve
        if len(curve.steps) > POINTS:
            behind[f"{label}, extremes"] = curves.thin(curve, POINTS)
            drawn[label] = curves.smooth(curve, MEANS)
    for label, runs in (references or {}).items():
        steps, *edges = curves.band(runs, POINTS)
        shown = steps <= last_step
        if not shown.any():
            continue
        low, high = (Curve(steps[shown], values[shown]) for values in edges)
        ends = [f"{curve.values[-1]:.4g}" for curve in (low, high)]
        last[f"{label}, reference"] = " to ".join(ends[: len(runs)])
        if len(runs) > 1:
            bands[label] = low, high
            behind |= {f"{label}, lowest": low, f"{label}, highest": high}
        else:
            behind[f"{label}, reference"] = low
    x = Scale(0, max(last_step, 1), LEFT, WIDTH - RIGHT)
    every = [curve.finite.values for curve in (*behind.values(), *drawn.values())]
    y = _vertical(np.concatenate(every), may_be_log)
    parts = []
    for label, edges in bands.items():
        there, back = (_points(edge, x, y) for edge in edges)
        band = " ".join([*there, *back[::-1]])
        parts.append(f'<polygon class="{label} band" points="{band}"/>\n')
    parts += [_line(label, curve, x, y) for label, curve in behind.items()]
    for label, value in (guides or {}).items():
        if y.low <= value <= y.high:
            parts.append(_guide(label, float(y(value))))
    parts += [_line(label, curve, x, y) for label, curve in drawn.items()]
    legend = "".join(
        f'<span class="{_kind(label)}">{label} <b>{value}</b></span>\n'
        for label, value in last.items()
    )
    gaps = sum(len(curve.steps) - len(curve.finite.steps) for curve in lines.values())
    notes = ["logarithmic"] * y.log + [f"not finite: {gaps}"] * bool(gaps)
    said = ", ".join(f"{label} {value}" for label, value in last.items())
    return (
        f'<div class="plot"><h3>{escape(name)}</h3><p>{legend}'
        f"{''.join(f'<i>{note}</i>' for note in notes)}</p>\n"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" data-x="{x.attribute()}"'
        f' data-y="{y.attribute()}" aria-label="{escape(f"{name}, last values: {said}")}">\n'
        f"{_axes(x, y)}{''.join(parts)}</svg></div>\n"
    )


def _vertical(values: np.ndarray, may_be_log: bool) -> Scale:
    """The vertical scale of a plot of these finite values, with some space above and below."""
    low, high = float(values.min()), float(values.max())
    log = may_be_log and low > 0 and high / low >= LOGARITHMIC
    if log:
        space = (high / low) ** 0.05
        low, high = low / space, high * space
    else:
        space = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        low, high = low - space, high + space
    return Scale(low, high, HEIGHT - BOTTOM, TOP, log)


def _kind(label: str) -> str:
    """The classes of a curve in page.css: "training", or "training behind" of what is pale."""
    kind, comma, _ = label.partition(", ")
    return kind + " behind" * bool(comma)


def _points(curve: Curve, x: Scale, y: Scale) -> list[str]:
    pairs = zip(x(curve.steps), y(curve.values), strict=True)
    return [f"{a:.2f},{b:.2f}" for a, b in pairs]


def _line(label: str, curve: Curve, x: Scale, y: Scale) -> str:
    """Polylines between values that are not finite; dots where there are few points."""
    finite, kind = _points(curve.finite, x, y), _kind(label)
    breaks = np.flatnonzero(np.diff(np.flatnonzero(np.isfinite(curve.values))) > 1) + 1
    text = ""
    for start, end in itertools.pairwise([0, *breaks.tolist(), len(finite)]):
        points = " ".join(finite[start:end])
        text += f'<polyline class="{kind}" data-name="{label}" points="{points}"/>\n'
    if len(finite) <= DOTS and kind == label:
        text += f'<path class="{kind} dots" d="{"".join(f"M{point}h0" for point in finite)}"/>\n'
    return text


def _guide(label: str, height: float) -> str:
    return (
        f'<path class="guide" d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}"/>'
        f'<text class="guide" x="{WIDTH - RIGHT}" y="{height - 4:.1f}">{escape(label)}</text>\n'
    )


def _axes(x: Scale, y: Scale) -> str:
    """Grid lines, ticks and their numbers."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    grid = "".join(f"M{LEFT} {y(value):.1f}H{right}" for value in y.ticks())
    numbers = "".join(
        f'<text class="y" x="{LEFT - 6}" y="{y(value) + 4:.1f}">{value:g}</text>'
        for value in y.ticks()
    )
    for value in x.ticks():
        if value == math.floor(value):
            grid += f"M{x(value):.1f} {bottom}v4"
            text = ticker.EngFormatter(sep="")(value)  # 2.5k
            place = min(float(x(value)), WIDTH - 3.3 * len(text))
            numbers += f'<text class="x" x="{place:.1f}" y="{HEIGHT - 5}">{text}</text>'
    frame = f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
    return f'<path class="grid" d="{grid}"/>{frame}{numbers}\n'
