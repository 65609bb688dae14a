"""The pictures of stability over the hyper-parameters: small multiples in which every mark is a run."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from sintro.cells import components
from sintro.cells.cell import Cell
from sintro.metrics import METRICS
from sintro.report.figures.style import INK, VECTOR, compact, ink_or_line, to_svg
from sintro.report.numbers.results import NO_RESULT, Result, grouped
from sintro.report.numbers.stability import MEASURES, Sweep, is_collapsed
from sintro.report.numbers.statistics import is_known
from sintro.report.numbers.words import dataset_name, plural, row_label, show_number

DRAWN = MEASURES[0]
MARKERS = "os^Dv<>P*h"
MOST_COLUMNS = 4
# How a run without a KL is drawn, in the strip above the others.
STRIP = {
    fate: {"linestyle": "", "marker": marker, "markersize": 5, "markeredgewidth": 1.2, "color": INK}
    for fate, marker in (("diverged", "x"), ("no KL", "1"))
}
STRIP_START = 0.84  # of a panel's height
STRIP_FIRST, STRIP_SPREAD = 0.05, 0.1  # from there to the first seed, and to the last one from the first
SLOT = 0.8  # the share of a KL weight's place that its marks take
PANEL_INCHES = (2.6, 3.0)
LEFT, RIGHT, BOTTOM, TOP = 0.7, 0.1, 1.15, 0.6  # margins in inches
COLLAPSED_MARK = {"linestyle": "", "marker": "+", "markersize": 11, "markeredgewidth": 1.1, "color": INK}

Panel = tuple[str, list[Result]]  # a title and the runs below it


@dataclass(frozen=True)
class Scale:
    """The logarithmic axis that all panels of a picture share: its ends and its ticks."""

    low: float
    high: float
    ticks: list[float]


def panels_of(sweeps: Sequence[Sweep]) -> Iterator[Panel]:
    """Give a title and the runs of every small multiple: one per sweep and margin."""
    for sweep in sweeps:
        by_margin = grouped(sweep.results, lambda result: result.cell.margin)
        for margin in sorted(by_margin, key=lambda value: value or 0):
            title = row_label(sweep.row)
            if margin is not None:
                title += f", margin {margin:g}"
            yield title, by_margin[margin]


def draw_sweeps(sweeps: Sequence[Sweep]) -> str:
    """Draw the published KL of every run against the KL weight, on one data set -> an SVG element with a text."""
    panels = list(panels_of(sweeps))
    runs = [result for _, members in panels for result in members]
    recs = sorted({result.cell.betas.rec for result in runs})
    scale = _scale([result.value(DRAWN) for result in runs if drawable(result)])
    rows = math.ceil(len(panels) / MOST_COLUMNS)
    columns = math.ceil(len(panels) / rows)
    width = PANEL_INCHES[0] * columns + 0.5
    height = PANEL_INCHES[1] * rows + 0.6
    margins = {
        "left": LEFT / width,
        "right": 1 - RIGHT / width,
        "bottom": BOTTOM / height,
        "top": 1 - TOP / height,
        "wspace": 0.12,
        "hspace": 0.65,
    }
    # Fixed margins: a computed layout takes longer than the drawing.
    with rc_context(VECTOR | {"figure.constrained_layout.use": False}):
        figure = Figure(figsize=(width, height))
        figure.subplots_adjust(**margins)
        grid = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
        for axes, (title, members) in zip(grid, panels, strict=False):
            _frame(axes, scale, f"{title}\n{_folded(counted(members))}")
            draw_panel(axes, members, recs)
        for axes in grid[len(panels) :]:
            axes.remove()
        figure.supylabel(f"{METRICS[DRAWN].label}, log scale", fontsize=10, x=0.08 / width)
        figure.legend(handles=legend_of(recs), loc="lower center", ncols=2 * columns, columnspacing=1.2)
        return compact(to_svg(figure, described(dataset_name(sweeps[0].dataset), panels)))


def _scale(values: Sequence[float]) -> Scale:
    """Fit the axis to the values, with the strip for runs without a KL above them."""
    low = math.log10(min(values, default=1))
    high = math.log10(max(values, default=10))
    margin = max(0.06 * (high - low), 0.05)
    low, high = low - margin, high + margin
    top = low + (high - low) / STRIP_START
    return Scale(10**low, 10**top, ticks_between(low, high))


def _frame(axes: Axes, scale: Scale, title: str) -> None:
    """Set a panel's axis and title."""
    axes.set(yscale="log", ylim=(scale.low, scale.high))
    axes.set_yticks(scale.ticks, [f"{tick:.3g}" for tick in scale.ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title(title, fontsize=8.5, loc="left")


def _folded(counts: str) -> str:
    """Break the counts into lines, but not between a number and what it counts."""
    space = "\N{NO-BREAK SPACE}"
    return fill(counts.replace(" ", space).replace(f",{space}", ", "), 40)


def ticks_between(low: float, high: float) -> list[float]:
    """List round numbers from 10^low to 10^high: 1, 2 and 5 times powers of ten; over many decades only the powers."""
    multiples = (1, 2, 5) if high - low < 3 else (1,)
    ticks = []
    for decade in range(math.floor(low), math.ceil(high) + 1):
        for multiple in multiples:
            tick = multiple * 10.0**decade
            if low <= math.log10(tick) <= high:
                ticks.append(tick)
    return ticks if len(ticks) > 1 else [10**low, 10**high]


# --- one small multiple


def draw_panel(axes: Axes, members: Sequence[Result], all_recs: Sequence[float]) -> None:
    """Draw one small multiple: a place per KL weight, in it the fakes' weights side by side, in each those of rec."""
    kls = sorted({result.cell.betas.kl for result in members})
    found = {negative_ratio(result.cell) for result in members}
    ratios = sorted(found, key=lambda ratio: ratio or 0)
    place = _placing(members, kls, ratios)
    _draw_runs(axes, members, all_recs, place, ratios[0] if len(ratios) > 1 else None)
    fallen = [result for result in members if is_collapsed(result) and drawable(result)]
    if fallen:
        axes.plot(*_points(fallen, place), **COLLAPSED_MARK)
    _draw_strip(axes, members, place)
    axes.set_xticks(range(len(kls)), [f"{kl:g}" for kl in kls], fontsize=8.5 if len(kls) < 6 else 7)
    axes.set_xlim(-0.6, len(kls) - 0.4)
    label = "KL weight"
    if ratios != [None]:
        listed = ", ".join(f"{ratio:g}" for ratio in ratios)
        label += f"\nin each, fakes' KL × {listed}"
    axes.set_xlabel(label, fontsize=8.5)


def _placing(members: Sequence[Result], kls: Sequence[float], ratios: Sequence) -> Callable[[Cell], float]:
    """Make the function that gives a cell's place along the axis."""
    recs = sorted({result.cell.betas.rec for result in members})
    width = len(recs) + 0.5  # of a ratio's marks and the gap after them, in marks
    total = len(ratios) * width - 0.5

    def place(cell: Cell) -> float:
        before = ratios.index(negative_ratio(cell)) * width
        mark = before + recs.index(cell.betas.rec) + 0.5
        offset = SLOT * (mark / total - 0.5)
        return kls.index(cell.betas.kl) + offset

    return place


def _points(results: Sequence[Result], place: Callable[[Cell], float]) -> tuple[list[float], list[float]]:
    """Find where runs are drawn: places and KLs."""
    places = [place(result.cell) for result in results]
    values = [result.value(DRAWN) for result in results]
    return places, values


def _draw_runs(
    axes: Axes,
    members: Sequence[Result],
    all_recs: Sequence[float],
    place: Callable[[Cell], float],
    hollow: float | None,
) -> None:
    """Draw the runs that have a KL, one series per reconstruction weight; hollow those with this ratio."""
    series: dict[tuple[float, str], list[Result]] = {}
    for result in filter(drawable, members):
        is_hollow = hollow is not None and negative_ratio(result.cell) == hollow
        key = (result.cell.betas.rec, "none" if is_hollow else "full")
        series.setdefault(key, []).append(result)
    for (rec, fill_style), runs in series.items():
        axes.plot(*_points(runs, place), **mark(all_recs.index(rec)), fillstyle=fill_style)


def _draw_strip(axes: Axes, members: Sequence[Result], place: Callable[[Cell], float]) -> None:
    """Draw the runs without a KL above the dotted line."""
    seeds = sorted({result.cell.seed for result in members})
    # Seeds of one setting above each other, or three crosses would look like one.
    heights = STRIP_START + STRIP_FIRST + STRIP_SPREAD * np.linspace(0, 1, len(seeds))
    height_of = dict(zip(seeds, heights, strict=True))
    strip = axes.get_xaxis_transform()  # x in data, y in shares of the panel's height
    axes.plot([0, 1], [STRIP_START] * 2, color=INK, linewidth=0.5, linestyle=":", transform=axes.transAxes)
    for fate, style in STRIP.items():
        lost = [result for result in members if fate_of(result) == fate]
        places = [place(result.cell) for result in lost]
        tops = [height_of[result.cell.seed] for result in lost]
        axes.plot(places, tops, **style, transform=strip, clip_on=False)


def negative_ratio(cell: Cell) -> float | None:
    """Find the weight of the fakes' KL in multiples of the real one's; None without fakes."""
    betas = cell.betas
    if betas.neg is None or components.objective(cell.objective_name).neg_is_relative:
        return betas.neg
    return round(betas.neg / betas.kl, 2)  # the path keeps 3 decimals of the product


def mark(index: int) -> dict[str, Any]:
    """Choose how the runs of the i-th reconstruction weight are drawn: a colour and a shape of its own."""
    colour, _ = ink_or_line(index)
    shape = MARKERS[index % len(MARKERS)]
    return {"linestyle": "", "marker": shape, "markersize": 4.5, "markeredgewidth": 0.9, "color": colour}


def legend_of(recs: Sequence[float]) -> list[Line2D]:
    """List the legend's marks: reconstruction weights, then the fates."""
    styles = {f"rec. weight {rec:g}": mark(i) for i, rec in enumerate(recs)}
    styles["collapsed"] = COLLAPSED_MARK
    styles |= STRIP
    return [Line2D([], [], **style, label=label) for label, style in styles.items()]


# --- in words


def drawable(result: Result) -> bool:
    """Tell whether the run has a KL that a log scale can show."""
    value = result.value(DRAWN)
    return is_known(value) and value > 0


def fate_of(result: Result) -> str:
    """Name a run's state, or that it finished without a KL to draw."""
    return "no KL" if result.state == "done" and not drawable(result) else result.state


def counted(members: Sequence[Result]) -> str:
    """Count the fates: `36 runs, 2 diverged, 1 collapsed, 1 missing`."""
    fates = [fate_of(result) for result in members]
    fates += ["collapsed" for result in members if is_collapsed(result)]
    shown = ("diverged", "collapsed", *NO_RESULT, "no KL")
    counts = [f"{fates.count(fate)} {fate}" for fate in shown if fate in fates]
    return ", ".join([plural(len(members), "run"), *counts])


def described(dataset: str, panels: Sequence[Panel]) -> str:
    """Put the picture into words: counts, and the range and median of every panel."""
    parts = []
    for title, members in panels:
        values = [result.value(DRAWN) for result in members if drawable(result)]
        spread = "no KL"
        if values:
            quantiles = np.quantile(values, [0, 0.5, 1]).tolist()
            low, middle, high = (show_number(value, 3) for value in quantiles)
            spread = f"KL from {low} to {high}, median {middle}"
        parts.append(f"{title}: {counted(members)}, {spread}")
    return f"Published KL of every run against the KL weight on {dataset}, log scale. " + "; ".join(parts)
