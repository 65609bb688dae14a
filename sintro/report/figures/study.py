"""The pictures of a study: density maps as small PNGs, and plots as SVG that takes the page's text colour.

A density map is one indexed PNG per cell rather than one big picture, so that each can be a link to its cell.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from sintro import SintroError
from sintro.report.figures.style import INK, LINES, VECTOR, to_svg
from sintro.report.numbers.ranks import ranks_of
from sintro.report.numbers.results import OTHER, Result, read_history
from sintro.report.numbers.tables import Table, family
from sintro.report.numbers.words import DATASET_NAMES, row_label


def draw_band(histories: Mapping[int, Mapping[str, np.ndarray]], names: Mapping[str, str], described: str) -> str:
    """Histories over seeds: the mean, and a band from the smallest to the largest, for every column in ``names``.

    Seeds may have been logged at different iterations: they are brought to those of the first by interpolation, and
    a seed that stopped early counts only as far as it went.
    """
    # Hundreds of these are drawn: fixed margins take half the time that a computed layout takes.
    with rc_context(VECTOR | {"figure.constrained_layout.use": False}):
        figure = Figure(figsize=(3.1 * len(names), 2.4))
        figure.subplots_adjust(left=0.16 / len(names), right=0.985, bottom=0.2, top=0.9, wspace=0.25)
        for axes, (column, title) in zip(figure.subplots(1, len(names), squeeze=False)[0], names.items(), strict=True):
            longest = max((h["iteration"] for h in histories.values()), key=len, default=np.zeros(0))
            where = longest[:: max(1, len(longest) // 150)]
            lines = []
            for history in histories.values():
                values = history.get(column, np.zeros(0))
                kept = np.isfinite(values)
                if kept.any():
                    lines.append(np.interp(where, history["iteration"][kept], values[kept], left=np.nan, right=np.nan))
            axes.set(title=title, xlabel="iteration")
            axes.locator_params(nbins=3)  # every tick costs time
            if not lines:
                axes.text(0.5, 0.5, "nothing logged", ha="center", transform=axes.transAxes)
                continue
            stack = np.stack(lines)  # [seeds, T]
            where, stack = where[np.isfinite(stack).any(0)], stack[:, np.isfinite(stack).any(0)]
            colour = LINES[1][0]
            axes.fill_between(where, np.nanmin(stack, 0), np.nanmax(stack, 0), color=colour, alpha=0.3, linewidth=0)
            axes.plot(where, np.nanmean(stack, 0), color=colour)
        return to_svg(figure, described)


def draw_ranks(ranks: Mapping[str, Mapping[str, float]], described: str) -> str:
    """Rank of every row (1 is best) across data sets: one line per row, named at its right end, best on top.

    ``ranks`` maps row -> {data set: rank}; a row without a rank on some data set has a gap there.
    """
    datasets = list(dict.fromkeys(name for row in ranks.values() for name in row))
    with rc_context(VECTOR):
        figure = Figure(figsize=(2.6 + 1.2 * len(datasets), 0.9 + 0.27 * len(ranks)))
        axes = figure.add_subplot()
        markers = "os^Dv<>PX*"
        ordered = sorted(ranks, key=lambda row: np.mean(list(ranks[row].values())) if ranks[row] else np.inf)
        for i, row in enumerate(ordered):
            values = [ranks[row].get(name, np.nan) for name in datasets]
            colour, dash = LINES[i % len(LINES)]
            if colour == LINES[0][0]:
                colour = INK  # nearly black would vanish on a dark page
            axes.plot(values, color=colour, linestyle=dash, marker=markers[i % len(markers)], markersize=5)
            if np.isfinite(values[-1]):
                axes.annotate(
                    row, (len(datasets) - 1, values[-1]), xytext=(9, -3), textcoords="offset points", fontsize=8.5
                )
        axes.set_xticks(range(len(datasets)), datasets)
        axes.set(ylabel="rank (1 is best)", xlim=(-0.15, len(datasets) - 0.85 + 0.15))
        axes.set_yticks(range(1, len(ranks) + 1))
        axes.invert_yaxis()
        return to_svg(figure, described)


def draw_against(series: Mapping[str, Sequence[tuple[float, float, float]]], x_name: str, y_name: str, described: str):
    """Lines of (x, mean, half-width) per series, such as a metric against the weight r -> str, an SVG element."""
    with rc_context(VECTOR):
        figure = Figure(figsize=(6.4, 2.8))
        axes = figure.add_subplot()
        positions = sorted({x for points in series.values() for x, _, _ in points})
        for i, (name, points) in enumerate(series.items()):
            colour, dash = LINES[i % len(LINES)]
            colour = INK if i % len(LINES) == 0 else colour
            x = np.array([positions.index(p[0]) for p in points]) + 0.04 * (i - len(series) / 2)
            axes.errorbar(
                x, [p[1] for p in points], [p[2] for p in points], color=colour, linestyle=dash,
                marker="os^Dv<>P"[i % 8], markersize=4, capsize=2, label=name,
            )  # fmt: skip
        axes.set_xticks(range(len(positions)), [f"{x:g}" for x in positions])
        axes.set(xlabel=x_name, ylabel=y_name)
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return to_svg(figure, described)


def draw_contrasts(lines: Sequence[tuple[str, float, float | None, float | None]], better: str, described: str) -> str:
    """A forest plot: per line a name, an effect, and its interval (None where there are too few seeds)."""
    with rc_context(VECTOR):
        figure = Figure(figsize=(8.4, 0.7 + 0.22 * len(lines)))
        axes = figure.add_subplot()
        for i, (_, effect, low, high) in enumerate(lines):
            if low is not None and high is not None and np.isfinite([low, high]).all():
                axes.plot([low, high], [i, i], color=LINES[1][0], linewidth=1.5)
            axes.plot([effect], [i], marker="o", color=INK, markersize=4)
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.set_yticks(range(len(lines)), [name for name, *_ in lines], fontsize=8)
        axes.set(xlabel=better, ylim=(len(lines) - 0.5, -0.5))
        return to_svg(figure, described)


BAND = {"reconstruction": "reconstruction", "kl_real": "KL of real data", "kl_fake": "KL of generated data"}


MOST_RANKED = 16


def band(members: Sequence[Result]) -> str:
    """Histories over the seeds of a group as an SVG; empty when none can be read.

    Cells that were made with other settings are left out.
    """
    found = {}
    for result in members:
        if result.state == OTHER:
            continue
        try:
            history = read_history(result.folder / "history.csv", {"iteration", *BAND})
        except (OSError, SintroError):
            continue
        if len(history.get("iteration", ())) > 1:
            found[result.cell.seed] = history
    if not found:
        return ""
    return draw_band(found, BAND, f"Histories over {len(found)} seeds: mean, and band from the lowest to the highest")


def study_pictures(made: Sequence[Table]) -> list[dict[str, str]]:
    """The plots of a study's page as SVG, with a heading each."""
    pictures = []
    for table in made:
        metric = next((m.published for m in table.measures if m.published.startswith(("kl", "fid", "cfid"))), None)
        found = ranks_of(table, metric) if metric and 1 < len(table.rows) <= MOST_RANKED else {}
        if len(found) > 1:
            label = next(m for m in table.measures if m.published == metric).label("published")
            described = f"Ranks by {label} over {len(table.datasets)} data sets; 1 is best. " + "; ".join(
                f"{row}: {', '.join(f'{d} {r:.0f}' for d, r in places.items())}" for row, places in found.items()
            )
            pictures.append({"title": f"Ranks by {label} (published)", "svg": draw_ranks(found, described)})
        if table.name == "table5":
            pictures += against_weight(table, metric)
    return pictures


def against_weight(table: Table, metric: str) -> list[dict[str, str]]:
    """The published metric against the weight r, a line per prior, a plot per data set."""
    pictures = []
    label = next(m for m in table.measures if m.published == metric).label("published")
    for dataset in table.datasets:
        series: dict[str, list[tuple[float, float, float]]] = {}
        for row in table.rows:
            entry = table.entries.get((row, dataset))
            summary = entry.summaries[metric, "published"] if entry else None
            if summary is None or not math.isfinite(summary.mean):
                continue
            weight = entry.results[0].cell.regularizer_spec.responsibility
            name = row_label(family(entry.results[0])[1:])
            series.setdefault(name, []).append((weight, summary.mean, summary.published or 0.0))
        series = {name: sorted(points) for name, points in series.items() if len(points) > 1}
        if series:
            described = f"{label} against r on {DATASET_NAMES[dataset]}, {len(series)} priors"
            svg = draw_against(series, "r, weight of the responsibility regulariser", label, described)
            pictures.append({"title": f"{label} against r, {DATASET_NAMES[dataset]}", "svg": svg})
    return pictures
