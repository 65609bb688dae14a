"""Stability in the report: how each objective fares over a grid of explicit hyper-parameters, as a table and pictures.

Everything comes from results that were read already; nothing here opens a file.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from sintro.cells import DENSITIES, Cell
from sintro.metrics import METRICS
from sintro.report.claims import UNSTABLE, value_of
from sintro.report.pictures import INK, VECTOR, compact, to_svg
from sintro.report.results import ABSENT, STATES, Result, count_states
from sintro.report.style import LINES
from sintro.report.tables import is_density
from sintro.report.words import DATASET_NAMES, plural, row_label, show_number

MEASURES = ("kl_published", "kl")
SPREAD = ("median", "lower_quartile", "upper_quartile", "min", "max", "n")
MARKERS = "os^Dv<>P*h"
MOST_COLUMNS = 4
# What a run without a KL is drawn as, in the strip above the others.
STRIP = {"diverged": "x", "no KL": "1"}
STRIP_START = 0.84  # of a panel's height


@dataclass(frozen=True, eq=False)
class Sweep:
    """The runs of one data set, objective (without its hyper-parameters), prior and regularizers over the grid."""

    dataset: str
    row: tuple[str, str, str]
    results: list[Result]


def sweeps_of(results: Sequence[Result]) -> list[Sweep]:
    """The 2D runs whose path gives the hyper-parameters; none unless two objectives do and one takes several values."""
    found: dict[tuple, list[Result]] = {}
    for result in results:
        cell = result.cell
        if is_density(result) and cell.betas is not None:
            row = (cell.objective_name, cell.prior, cell.regularizers)
            found.setdefault((cell.dataset, row), []).append(result)
    objectives = {row[0] for _, row in found}
    gridded = any(len({r.cell.objective for r in members}) > 1 for members in found.values())
    # By data set, so that the objectives to compare stand beside each other.
    ordered = sorted(found.items(), key=lambda item: DENSITIES.index(item[0][0]))
    return [Sweep(*key, members) for key, members in ordered] if len(objectives) > 1 and gridded else []


def is_collapsed(result: Result) -> bool | None:
    """Whether a finished run collapsed (``sintro.metrics.collapse``); None where nobody knows."""
    unstable = value_of(result, UNSTABLE) if result.state == "done" else None
    return None if unstable is None else unstable == 1


# --- the table


def spread_over_settings(results: Sequence[Result], metric: str) -> dict[str, float]:
    """Median, quartiles (linear between neighbours), extremes and number of the settings' values.

    A setting's value is the mean over its finished seeds with a finite number; a setting without one is left out of n.
    """
    settings: dict[str, list[float]] = {}
    for result in results:
        value = result.value(metric) if result.state == "done" else None
        if value is not None and math.isfinite(value):
            settings.setdefault(result.cell.objective, []).append(value)
    means = [float(np.mean(values)) for values in settings.values()]
    levels = [0.5, 0.25, 0.75, 0, 1]
    numbers = np.quantile(means, levels).tolist() if means else [math.nan] * len(levels)
    return dict(zip(SPREAD, [*numbers, len(means)], strict=True))


def numbers_of(sweep: Sweep) -> dict[str, Any]:
    """One line of the table: the counts, and the spread of both KLs as ``<metric>_<what>``."""
    names = ("dataset", "objective", "prior", "regularizers")
    counts = count_states(sweep.results)
    fates = [is_collapsed(result) for result in sweep.results]
    line = dict(zip(names, (sweep.dataset, *sweep.row), strict=True))
    line |= {"settings": len({r.cell.objective for r in sweep.results}), "runs": len(sweep.results)}
    line |= {state.replace(" ", "_"): counts[state] for state in STATES}
    # Shares are of the runs that ended, diverged ones included, so that the two add up.
    line |= {"ended": counts["done"] + counts["diverged"], "collapsed": fates.count(True)}
    line["judged"] = counts["diverged"] + fates.count(True) + fates.count(False)
    for metric in MEASURES:
        spread = spread_over_settings(sweep.results, metric)
        line |= {f"{metric}_{what}": value for what, value in spread.items()}
    return line


def to_csv(lines: Sequence[dict[str, Any]]) -> str:
    """The table with every digit."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def share(part: int, whole: int) -> str:
    """`3/72 (4.2%)`; a dash where there is nothing to take a share of."""
    return f"{part}/{whole} ({part / whole:.1%})" if whole else "–"


def line_view(line: dict[str, Any]) -> dict[str, Any]:
    """One line of the table as texts."""

    def spread(metric: str) -> list[str]:
        median, low, high, least, most = (show_number(line[f"{metric}_{what}"], 3) for what in SPREAD[:-1])
        count = f"{line[f'{metric}_n']}/{line['settings']}"
        return [median, f"{low} to {high}", least, most, count] if line[f"{metric}_n"] else ["–"] * 4 + [count]

    counts = {state: line[state.replace(" ", "_")] for state in ABSENT}
    absent = [f"{count} {state}" for state, count in counts.items() if count]
    return {
        "dataset": DATASET_NAMES[line["dataset"]],
        "label": row_label((line["objective"], line["prior"], line["regularizers"])),
        "finished": f"{line['done']}/{line['runs']}",
        "diverged": share(line["diverged"], line["ended"]),
        "collapsed": share(line["collapsed"], line["judged"]),
        "absent": ", ".join(absent) or "none",
        "spreads": [text for metric in MEASURES for text in spread(metric)],
    }


def stability_view(results: Sequence[Result]) -> dict[str, Any] | None:
    """The section of a study's page: lines, pictures and the table as CSV; None without a grid to compare over."""
    sweeps = sweeps_of(results)
    if not sweeps:
        return None
    lines = [numbers_of(sweep) for sweep in sweeps]
    pictures = []
    for dataset in dict.fromkeys(sweep.dataset for sweep in sweeps):
        svg = draw_sweeps([sweep for sweep in sweeps if sweep.dataset == dataset])
        pictures.append({"title": f"KL (published) over the grid, {DATASET_NAMES[dataset]}", "svg": svg})
    heads = [METRICS[metric].label for metric in MEASURES]
    return {"lines": [line_view(line) for line in lines], "heads": heads, "pictures": pictures, "csv": to_csv(lines)}


# --- the pictures


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
