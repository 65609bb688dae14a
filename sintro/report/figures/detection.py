"""The score histograms of out-of-distribution detection: one picture of a cell."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from sintro.metrics import OOD_KINDS, OOD_SCORES
from sintro.report.figures.style import LINES

BINS = 50


OUTLIERS = {
    "uniform": "uniform, off support",
    "pair": "the other data set",
    "inverted": "inverted",
    "noise": "pixels shuffled",
}


def ood_figure(arrays: Mapping[str, np.ndarray]) -> Figure:
    """A histogram of each score: the model's own data filled, every kind of outlier as a line of its own dash.

    ``arrays``: scores [N] by the name ``ood_<kind>_<score>``, kind ``inside`` for the model's own data; high is like
    the training data. What is not finite is left out of the picture (never of the measures) and counted in its legend.
    """
    scores = [score for score in OOD_SCORES if f"ood_inside_{score}" in arrays]  # older arrays have fewer
    rows = math.ceil(len(scores) / 2)
    figure = Figure(figsize=(8.2, 2.3 * rows))
    for place, score in enumerate(scores, 1):
        axes = figure.add_subplot(rows, 2, place)
        found = {kind: arrays[name] for kind in ("inside", *OOD_KINDS) if (name := f"ood_{kind}_{score}") in arrays}
        finite = {kind: values[np.isfinite(values)].astype(np.float64) for kind, values in found.items()}
        edges = _edges(finite)
        for i, (kind, values) in enumerate(finite.items()):
            lost = len(found[kind]) - len(values)
            name = OUTLIERS.get(kind, "own kind") + (f", {lost} not finite" if lost else "")
            share = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(len(values), 1)
            colour, dash = LINES[i % len(LINES)]
            filled = {"fill": True, "alpha": 0.45, "linewidth": 0} if kind == "inside" else {"linestyle": dash}
            axes.stairs(share, edges, color=colour, label=name, **filled)
        sign = "" if score in ("elbo", "elbo_half", "iw") else "−"
        axes.set(title=sign + OOD_SCORES[score][0], ylabel="share of the data", ylim=(0, None))
        axes.locator_params(nbins=5)
    figure.axes[0].legend(loc="best")
    figure.supxlabel("score in nats, high: like the training data; the outermost bins hold the rest", fontsize=9)
    return figure


def _edges(finite: Mapping[str, np.ndarray]) -> np.ndarray:
    """Bin edges over the bulk (1% to 99%) of every set, but no farther off the own data than four of their widths.

    Outliers' scores can lie a hundred times farther off than that, which would leave the own data a single bin.
    """
    bulk = [np.quantile(values, [0.01, 0.99]) for values in finite.values() if len(values)]
    if not bulk:
        return np.linspace(0.0, 1.0, BINS + 1)
    low, high = min(pair[0] for pair in bulk), max(pair[1] for pair in bulk)
    if len(finite["inside"]):
        reach = 4 * (bulk[0][1] - bulk[0][0])
        low, high = max(low, bulk[0][0] - reach), min(high, bulk[0][1] + reach)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    return np.linspace(low, high, BINS + 1)
