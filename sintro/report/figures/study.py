"""The plots of groups and studies: over seeds, over data sets and over r, as SVG that takes the page's text colour."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sintro.report.figures.style import INK, LINES, VECTOR, ink_or_line, to_svg
from sintro.report.numbers.ranks import ranks_of
from sintro.report.numbers.results import Result, history_of
from sintro.report.numbers.tables import Measure, Table, family
from sintro.report.numbers.words import dataset_name, plural, row_label
from sintro.runs.results import OTHER

GREY = LINES[3][0]
MARKERS = "os^Dv<>PX*"
BAND = {"reconstruction": "reconstruction", "kl_real": "KL of real data", "kl_fake": "KL of generated data"}
BAND_POINTS = 150  # of a line; more cannot be told apart
MOST_RANKED = 16  # rows
LETTER = 0.072  # inches that a letter of a row's name takes beside the end of its line


def study_pictures(made: Sequence[Table]) -> list[dict[str, str]]:
    """Draw the plots of a study's page -> a heading and an SVG each."""
    pictures = []
    for table in made:
        measure = next((m for m in table.measures if m.published.startswith(("kl", "fid", "cfid"))), None)
        if measure is None:
            continue
        if 1 < len(table.rows) <= MOST_RANKED:
            pictures += _ranks_picture(table, measure)
        if table.name == "table5":
            pictures += against_weight(table, measure)
    return pictures


def _ranks_picture(table: Table, measure: Measure) -> list[dict[str, str]]:
    """Draw the ranks by one metric; nothing unless several rows have one."""
    ranks = ranks_of(table, measure.published)
    if len(ranks) < 2:
        return []
    told = []
    for row, places in ranks.items():
        each = ", ".join(f"{dataset} {place:g}" for dataset, place in places.items())
        told.append(f"{row}: {each}")
    title = f"Ranks by {table.named(measure)}"
    described = f"{title}; 1 is best. {'; '.join(told)}"
    return [{"title": title, "svg": draw_ranks(ranks, described)}]


def draw_ranks(ranks: Mapping[str, Mapping[str, float]], described: str) -> str:
    """Draw the rank of every row (1 is best) across data sets: one line per row, named where it ends.

    ``ranks`` maps row -> {data set: rank}; a row without a rank on some data set has a gap there.
    """
    lines = [(row, dataset, rank) for row, places in ranks.items() for dataset, rank in places.items()]
    frame = pd.DataFrame(lines, columns=["row", "data set", "rank"])
    datasets = list(frame["data set"].unique())
    best_first = frame.groupby("row")["rank"].mean().sort_values(kind="stable")
    rows = list(best_first.index)
    with rc_context(VECTOR):
        lines_wide, names_wide = 1.2 * len(datasets), LETTER * max(map(len, rows))
        lines_high = 0.3 + 0.27 * len(rows)
        width, height = 0.6 + lines_wide + 0.2 + names_wide, lines_high + 0.5
        figure = Figure(figsize=(width, height), layout="none")  # a layout engine leaves names no room beside the lines
        axes = figure.add_axes((0.6 / width, 0.4 / height, lines_wide / width, lines_high / height))
        _lines_by(axes, frame, "data set", "rank", "row", datasets, rows, errorbar=None)
        for row in rows:
            end = max(datasets.index(dataset) for dataset in ranks[row])
            place = (end, ranks[row][datasets[end]])
            axes.annotate(row, place, xytext=(9, -3), textcoords="offset points", fontsize=8.5)
        axes.set(xlabel="", ylabel="rank (1 is best)", xlim=(-0.3, len(datasets) - 0.9))
        axes.set_yticks(range(1, len(rows) + 1))
        axes.set_ylim(len(rows) + 0.5, 0.5)
        axes.get_legend().remove()  # the lines are named where they end
        return to_svg(figure, described)


def _lines_by(
    axes: Axes, frame: pd.DataFrame, x: str, y: str, name: str, order: Sequence, names: Sequence[str], **given
) -> None:
    """Draw a line of means per name over categories, each with its own colour, dash and marker."""
    styles = [ink_or_line(i) for i in range(len(names))]
    sns.pointplot(
        frame,
        x=x,
        y=y,
        hue=name,
        order=order,
        hue_order=names,
        palette=[colour for colour, _ in styles],
        linestyles=[dash for _, dash in styles],
        markers=[MARKERS[i % len(MARKERS)] for i in range(len(names))],
        markersize=5,
        linewidth=1.3,
        markeredgewidth=0,
        ax=axes,
        **given,
    )


# --- over r


def against_weight(table: Table, measure: Measure) -> list[dict[str, str]]:
    """Draw the published metric against the weight r, a line per row without its r and a plot per data set."""
    pictures = []
    objectives = {objective for objective, _, _ in table.rows}
    first_named = 0 if len(objectives) > 1 else 1  # one objective need not be said
    label = measure.published_label
    factor = measure.metric("published").display_scale
    for dataset in table.datasets:
        lines = []
        for entry in table.column(dataset).values():
            first = entry.results[0]
            name = row_label(family(first)[first_named:])
            weight = first.cell.regularizer_spec.responsibility
            values = entry.values(measure.published).values()
            # One that is not finite makes the mean not finite, as in the table.
            if all(map(math.isfinite, values)):
                lines += [(name, weight, value * factor) for value in values]
        frame = pd.DataFrame(lines, columns=["series", "r", "value"])
        weights = frame.groupby("series")["r"].nunique()
        frame = frame[frame["series"].isin(weights.index[weights > 1])]
        if not frame.empty:
            count = plural(frame["series"].nunique(), "line")
            described = f"{label} against r on {dataset_name(dataset)}, {count}"
            title = f"{label} against r, {dataset_name(dataset)}: mean ± sd/√n over seeds"
            pictures.append({"title": title, "svg": draw_against(frame, label, described)})
    return pictures


def draw_against(frame: pd.DataFrame, label: str, described: str) -> str:
    """Draw means with their published spread against r -> an SVG element.

    ``frame``: a line per seed, with the columns series, r and value.
    """
    with rc_context(VECTOR):
        figure = Figure(figsize=(6.4, 2.8))
        axes = figure.add_subplot()
        names = list(frame["series"].unique())
        places = sorted(frame["r"].unique())
        apart = 0.04 * len(names) if len(names) > 1 else False
        _lines_by(
            axes, frame, "r", "value", "series", places, names, errorbar=published_spread, capsize=0.05, dodge=apart
        )
        axes.set_xticks(range(len(places)), [f"{r:g}" for r in places])
        axes.set(xlabel="r, weight of the responsibility regulariser", ylabel=label)
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return to_svg(figure, described)


def published_spread(values: pd.Series) -> tuple[float, float]:
    """Find mean ± sd/√n (ddof 0), as the papers draw it."""
    mean = values.mean()
    half = values.std(ddof=0) / math.sqrt(len(values))
    return mean - half, mean + half


# --- over seeds


def band(members: Sequence[Result]) -> str:
    """Draw the histories over the seeds of a group as an SVG; empty when none can be read.

    Cells that were made with other settings are left out.
    """
    found = {}
    for result in members:
        if result.state == OTHER:
            continue
        history = history_of(result, {"iteration", *BAND})
        if len(history.get("iteration", ())) > 1:
            found[result.cell.seed] = history
    if not found:
        return ""
    return draw_band(found, BAND, f"Histories over {len(found)} seeds: mean, and band from the lowest to the highest")


def draw_band(histories: Mapping[int, Mapping[str, np.ndarray]], names: Mapping[str, str], described: str) -> str:
    """Draw histories over seeds: the mean, and a band from the smallest to the largest, per column in ``names``.

    Seeds may have been logged at different iterations: they are brought to those of the longest by interpolation, and
    a seed that stopped early counts only as far as it went.
    """
    longest = max((history["iteration"] for history in histories.values()), key=len, default=np.zeros(0))
    step = max(1, len(longest) // BAND_POINTS)
    where = longest[::step]
    # Hundreds of these are drawn: fixed margins take half the time that a computed layout takes, and the means of
    # columns of equal length need no seaborn.
    with rc_context(VECTOR | {"figure.constrained_layout.use": False}):
        figure = Figure(figsize=(3.1 * len(names), 2.4))
        figure.subplots_adjust(left=0.16 / len(names), right=0.985, bottom=0.2, top=0.9, wspace=0.25)
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        for axes, (column, title) in zip(panels, names.items(), strict=True):
            axes.set(title=title, xlabel="iteration")
            axes.locator_params(nbins=3)  # every tick costs time
            _draw_band(axes, where, _stack(histories.values(), column, where))
        return to_svg(figure, described)


def _stack(histories: Sequence[Mapping[str, np.ndarray]], column: str, where: np.ndarray) -> np.ndarray:
    """Interpolate a column of every history at the iterations ``where`` [T] -> [seeds, T], NaN beyond a history."""
    lines = []
    for history in histories:
        values = history.get(column, np.zeros(0))
        is_finite = np.isfinite(values)
        if is_finite.any():
            iterations = history["iteration"][is_finite]
            lines.append(np.interp(where, iterations, values[is_finite], left=np.nan, right=np.nan))
    return np.array(lines).reshape(-1, len(where))


def _draw_band(axes: Axes, where: np.ndarray, stack: np.ndarray) -> None:
    """Draw mean and band of the values [seeds, T] over the iterations [T]."""
    is_known = np.isfinite(stack).any(0)
    if not is_known.any():
        axes.text(0.5, 0.5, "nothing logged", ha="center", transform=axes.transAxes)
        return
    where, stack = where[is_known], stack[:, is_known]
    colour = LINES[1][0]
    axes.fill_between(where, np.nanmin(stack, 0), np.nanmax(stack, 0), color=colour, alpha=0.3, linewidth=0)
    axes.plot(where, np.nanmean(stack, 0), color=colour)


# --- contrasts


class ContrastLine(NamedTuple):
    """One data set of a contrast: its name, the effect, and the interval (None where there are too few seeds).

    ``is_noise``: whether the effect is smaller than the measurement noise. ``bound``: how far below zero the effect may
    lie where only "not worse" is claimed.
    """

    name: str
    effect: float
    low: float | None
    high: float | None
    is_noise: bool
    bound: float | None = None


def draw_contrasts(contrasts: Mapping[str, Sequence[ContrastLine]], better: str, described: str) -> str:
    """Draw a forest plot: a panel for each contrast, with an axis of its own, since metrics differ in their scales.

    An effect smaller than the measurement noise is grey, and its mark hollow. A bound is a short vertical line.
    """
    lines = [line for of_one in contrasts.values() for line in of_one]
    better += "; grey and hollow: smaller than the measurement noise" if any(line.is_noise for line in lines) else ""
    better += "; |: the allowance" if any(line.bound is not None for line in lines) else ""
    heights = [len(of_one) + 2.5 for of_one in contrasts.values()]  # in lines: the rest is title and axis
    with rc_context(VECTOR):
        figure = Figure(figsize=(8.4, 0.3 + 0.2 * sum(heights)), layout="constrained")
        panels = figure.subplots(len(contrasts), squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for axes, (title, of_one) in zip(panels, contrasts.items(), strict=True):
            _draw_contrast(axes, pd.DataFrame(of_one))
            axes.set_title(title, loc="left", fontsize=8)
        panels[-1].set_xlabel(better)
        return to_svg(figure, described)


def _draw_contrast(axes: Axes, frame: pd.DataFrame) -> None:
    """Draw the lines of one contrast, the first at the top."""
    ends = frame[["low", "high"]].astype(float)
    known = ends[np.isfinite(ends).all(axis=1)]
    is_noise = frame["is_noise"].astype(bool)
    colours = [GREY if is_noise[line] else LINES[1][0] for line in known.index]
    axes.hlines(known.index, known["low"], known["high"], color=colours, linewidth=1.5)
    for part, face, edge in ((frame[~is_noise], INK, INK), (frame[is_noise], "none", GREY)):
        axes.scatter(part["effect"], part.index, facecolor=face, edgecolor=edge, s=16, linewidth=1, zorder=3)
    bounds = frame["bound"].astype(float).dropna()
    axes.scatter(bounds, bounds.index, marker="|", color=INK, s=60, linewidth=1)
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.set_yticks(range(len(frame)), frame["name"], fontsize=8)
    axes.set(ylabel="", ylim=(len(frame) - 0.5, -0.5))
