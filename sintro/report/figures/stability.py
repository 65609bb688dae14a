"""The pictures of stability over the hyper-parameters: small multiples in which every mark is a run."""

import math
from collections.abc import Iterator, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from sintro.cells import Cell
from sintro.metrics import METRICS
from sintro.report.figures.style import INK, LINES, VECTOR, compact, to_svg
from sintro.report.numbers.results import ABSENT, Result
from sintro.report.numbers.stability import MEASURES, Sweep, is_collapsed
from sintro.report.numbers.words import DATASET_NAMES, plural, row_label, show_number

MARKERS = "os^Dv<>P*h"


MOST_COLUMNS = 4


# What a run without a KL is drawn as, in the strip above the others.
STRIP = {"diverged": "x", "no KL": "1"}


STRIP_START = 0.84  # of a panel's height


def negative_ratio(cell: Cell) -> float | None:
    """The weight of the fakes' KL in multiples of the real one's, which IntroVAE's w_neg is already; None for a VAE."""
    betas = cell.betas
    if betas.neg is None or cell.objective_name == "introvae":
        return betas.neg
    return round(betas.neg / betas.kl, 2)  # the path keeps 3 decimals of the product


def panels_of(sweeps: Sequence[Sweep]) -> Iterator[tuple[str, list[Result]]]:
    """A title and the runs of every small multiple: one per sweep and margin."""
    for sweep in sweeps:
        margins = sorted({r.cell.margin for r in sweep.results}, key=lambda m: m or 0)
        for margin in margins:
            title = row_label(sweep.row) + ("" if margin is None else f", margin {margin:g}")
            yield title, [r for r in sweep.results if r.cell.margin == margin]


def draw_sweeps(sweeps: Sequence[Sweep]) -> str:
    """Published KL of every run against the KL weight, on one data set -> an SVG element with a text alternative."""
    panels = list(panels_of(sweeps))
    rows = math.ceil(len(panels) / MOST_COLUMNS)
    columns = math.ceil(len(panels) / rows)
    recs = sorted({r.cell.betas.rec for _, members in panels for r in members})
    drawn = [r.value(MEASURES[0]) for _, members in panels for r in members if drawable(r)]
    low, high = math.log10(min(drawn, default=1)), math.log10(max(drawn, default=10))
    margin = max(0.06 * (high - low), 0.05)
    span, ticks = (high - low + 2 * margin) / STRIP_START, ticks_between(low - margin, high + margin)
    # Fixed margins, in inches: a computed layout takes longer than the drawing.
    with rc_context(VECTOR | {"figure.constrained_layout.use": False}):
        width, height = 2.6 * columns + 0.5, 3.0 * rows + 0.6
        figure = Figure(figsize=(width, height))
        figure.subplots_adjust(0.7 / width, 1.15 / height, 1 - 0.1 / width, 1 - 0.6 / height, 0.12, 0.65)
        grid = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
        for axes, (title, members) in zip(grid, panels, strict=False):
            axes.set(yscale="log", ylim=(10 ** (low - margin), 10 ** (low - margin + span)))
            axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
            axes.yaxis.set_minor_locator(NullLocator())
            draw_panel(axes, members, recs)
            # No break between a number and what it counts.
            folded = fill(counted(members).replace(" ", "\N{NO-BREAK SPACE}").replace(",\N{NO-BREAK SPACE}", ", "), 40)
            axes.set_title(f"{title}\n{folded}", fontsize=8.5, loc="left")
        for axes in grid[len(panels) :]:
            axes.remove()
        figure.supylabel(f"{METRICS[MEASURES[0]].label}, log scale", fontsize=10, x=0.08 / width)
        figure.legend(handles=legend_of(recs), loc="lower center", ncols=2 * columns, columnspacing=1.2)
        return compact(to_svg(figure, described(DATASET_NAMES[sweeps[0].dataset], panels)))


def ticks_between(low: float, high: float) -> list[float]:
    """Round numbers from 10^low to 10^high: 1, 2 and 5 times the powers of ten, or over many decades the powers."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    rounded = [m * 10.0**d for d in decades for m in ((1, 2, 5) if high - low < 3 else (1,))]
    ticks = [tick for tick in rounded if low <= math.log10(tick) <= high]
    return ticks if len(ticks) > 1 else [10**low, 10**high]


def draw_panel(axes: Axes, members: Sequence[Result], all_recs: Sequence[float]) -> None:
    """One small multiple: a place per KL weight, in it the fakes' weights side by side, in each those of rec."""
    kls = sorted({r.cell.betas.kl for r in members})
    ratios = sorted({negative_ratio(r.cell) for r in members}, key=lambda ratio: ratio or 0)
    recs = sorted({r.cell.betas.rec for r in members})
    seeds = sorted({r.cell.seed for r in members})

    def place(cell: Cell) -> float:
        slot = ratios.index(negative_ratio(cell)) * (len(recs) + 0.5) + recs.index(cell.betas.rec) + 0.5
        return kls.index(cell.betas.kl) + 0.8 * (slot / (len(ratios) * (len(recs) + 0.5) - 0.5) - 0.5)

    series: dict[tuple, list[tuple[float, float]]] = {}
    for result in members:
        if drawable(result):
            hollow = len(ratios) > 1 and negative_ratio(result.cell) == ratios[0]
            key = (result.cell.betas.rec, hollow)
            series.setdefault(key, []).append((place(result.cell), result.value(MEASURES[0])))
    for (rec, hollow), points in series.items():
        axes.plot(*zip(*points, strict=True), **mark(all_recs.index(rec)), fillstyle="none" if hollow else "full")
    fallen = [(place(r.cell), r.value(MEASURES[0])) for r in members if is_collapsed(r) and drawable(r)]
    if fallen:
        axes.plot(*zip(*fallen, strict=True), **COLLAPSED_MARK)
    strip = axes.get_xaxis_transform()  # x in data, y in shares of the panel's height
    axes.plot([0, 1], [STRIP_START] * 2, color=INK, linewidth=0.5, linestyle=":", transform=axes.transAxes)
    for fate, marker in STRIP.items():
        lost = [r for r in members if fate_of(r) == fate]
        # Seeds of one setting above each other, or three crosses would look like one.
        heights = [STRIP_START + 0.05 + 0.1 * seeds.index(r.cell.seed) / max(len(seeds) - 1, 1) for r in lost]
        places = [place(r.cell) for r in lost]
        axes.plot(places, heights, **strip_mark(marker), transform=strip, clip_on=False)
    axes.set_xticks(range(len(kls)), [f"{kl:g}" for kl in kls], fontsize=8.5 if len(kls) < 6 else 7)
    axes.set_xlim(-0.6, len(kls) - 0.4)
    side_by_side = f"\nin each, fakes' KL × {', '.join(f'{r:g}' for r in ratios)}" if ratios != [None] else ""
    axes.set_xlabel(f"KL weight{side_by_side}", fontsize=8.5)


COLLAPSED_MARK = {"linestyle": "", "marker": "+", "markersize": 11, "markeredgewidth": 1.1, "color": INK}


def mark(index: int) -> dict[str, Any]:
    """How the runs of the i-th reconstruction weight are drawn: a colour and a shape of its own."""
    # The darkest would vanish on a dark page.
    colour = LINES[index % len(LINES)][0] if index % len(LINES) else INK
    shape = MARKERS[index % len(MARKERS)]
    return {"linestyle": "", "marker": shape, "markersize": 4.5, "markeredgewidth": 0.9, "color": colour}


def strip_mark(marker: str) -> dict[str, Any]:
    """How a run without a KL is drawn."""
    return {"linestyle": "", "marker": marker, "markersize": 5, "markeredgewidth": 1.2, "color": INK}


def legend_of(recs: Sequence[float]) -> list[Line2D]:
    """The legend's marks: reconstruction weights, then the fates."""
    marks = [Line2D([], [], **mark(i), label=f"rec. weight {rec:g}") for i, rec in enumerate(recs)]
    marks.append(Line2D([], [], **COLLAPSED_MARK, label="collapsed"))
    return [*marks, *(Line2D([], [], **strip_mark(marker), label=fate) for fate, marker in STRIP.items())]


def drawable(result: Result) -> bool:
    """Has the run a KL that a log scale can show?"""
    value = result.value(MEASURES[0]) if result.state == "done" else None
    return value is not None and math.isfinite(value) and value > 0


def fate_of(result: Result) -> str:
    """A run's state, or that it finished without a KL to draw."""
    return "no KL" if result.state == "done" and not drawable(result) else result.state


def counted(members: Sequence[Result]) -> str:
    """`36 runs, 2 diverged, 1 collapsed, 1 missing`."""
    fates = [fate_of(r) for r in members] + ["collapsed" for r in members if is_collapsed(r)]
    shown = ("diverged", "collapsed", *ABSENT, "no KL")
    counts = [f"{fates.count(fate)} {fate}" for fate in shown if fate in fates]
    return ", ".join([plural(len(members), "run"), *counts])


def described(dataset: str, panels: Sequence[tuple[str, list[Result]]]) -> str:
    """The picture in words: counts, and the range and median of every panel."""
    parts = []
    for title, members in panels:
        values = [r.value(MEASURES[0]) for r in members if drawable(r)]
        numbers = [show_number(float(v), 3) for v in np.quantile(values, [0, 0.5, 1])] if values else []
        spread = ", KL from {0} to {2}, median {1}".format(*numbers) if values else ", no KL"
        parts.append(f"{title}: {counted(members)}{spread}")
    return f"Published KL of every run against the KL weight on {dataset}, log scale. " + "; ".join(parts)
