"""The score histograms of out-of-distribution detection: one picture of a cell."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sintro.metrics import OOD_KINDS, OOD_SCORES
from sintro.report.figures.style import LINES

BINS = 50
INSIDE = "inside"  # the model's own data
NAMES = {
    INSIDE: "own kind",
    "uniform": "uniform, off support",
    "pair": "the other data set",
    "inverted": "inverted",
    "noise": "pixels shuffled",
}
HIGH_INSIDE = ("elbo", "elbo_half", "iw")  # scores as they are; of the others the negative is shown
REACH = 4  # the picture reaches this many widths of the own data's bulk


def ood_figure(arrays: Mapping[str, np.ndarray]) -> Figure:
    """Draw a histogram of each score: the model's own data filled, every kind of outlier as a line of its own dash.

    ``arrays``: scores [N] by the name ``ood_<kind>_<score>``, kind ``inside`` for the model's own data; high is like
    the training data. What is not finite is left out of the picture (never of the measures) and counted in its legend.
    """
    scores = [score for score in OOD_SCORES if f"ood_{INSIDE}_{score}" in arrays]  # older arrays have fewer
    rows = math.ceil(len(scores) / 2)
    figure = Figure(figsize=(8.2, 2.3 * rows))
    for place, score in enumerate(scores, 1):
        found = {kind: arrays.get(f"ood_{kind}_{score}") for kind in (INSIDE, *OOD_KINDS)}
        present = {kind: values for kind, values in found.items() if values is not None}
        axes = figure.add_subplot(rows, 2, place)
        _draw_score(axes, present)
        sign = "" if score in HIGH_INSIDE else "−"
        axes.set(title=sign + OOD_SCORES[score][0], ylabel="share of the data", ylim=(0, None))
        axes.locator_params(nbins=5)
    figure.axes[0].legend(loc="best")
    figure.supxlabel("score in nats, high: like the training data; the outermost bins hold the rest", fontsize=9)
    return figure


def _draw_score(axes: Axes, found: Mapping[str, np.ndarray]) -> None:
    """Draw the histograms of one score [N] for each kind of data."""
    finite = {kind: values[np.isfinite(values)].astype(np.float64) for kind, values in found.items()}
    edges = _edges(finite)
    for i, (kind, values) in enumerate(finite.items()):
        label = NAMES.get(kind, kind)
        lost = len(found[kind]) - len(values)
        if lost:
            label += f", {lost} not finite"
        inside = np.clip(values, edges[0], edges[-1])
        counts, _ = np.histogram(inside, edges)
        share = counts / max(len(values), 1)
        colour, dash = LINES[i % len(LINES)]
        style = {"fill": True, "alpha": 0.45, "linewidth": 0} if kind == INSIDE else {"linestyle": dash}
        axes.stairs(share, edges, color=colour, label=label, **style)


def _edges(finite: Mapping[str, np.ndarray]) -> np.ndarray:
    """Choose bin edges over the bulk (1% to 99%) of every set, but no farther off the own data than four widths.

    Outliers' scores can lie a hundred times farther off than that, which would leave the own data a single bin.
    """
    bulk = {kind: np.quantile(values, [0.01, 0.99]) for kind, values in finite.items() if len(values)}
    if not bulk:
        return np.linspace(0.0, 1.0, BINS + 1)
    low = min(first for first, _ in bulk.values())
    high = max(last for _, last in bulk.values())
    if INSIDE in bulk:
        first, last = bulk[INSIDE]
        reach = REACH * (last - first)
        low, high = max(low, first - reach), min(high, last + reach)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)
