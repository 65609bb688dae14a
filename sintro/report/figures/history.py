"""The picture of a cell's history: losses, reconstruction and KL over the iterations."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sintro.report.figures.style import LINES

OF = {"": "real", "_fake": "fake", "_reconstructed": "recon."}
PANELS = {
    "losses": {"loss_encoder": "encoder", "loss_decoder": "decoder"},
    "reconstruction": {f"reconstruction{of}": name for of, name in OF.items()},
    "KL": {f"kl{of or '_real'}": name for of, name in OF.items()},
}
MANY = 5000  # iterations, from which on they are counted in thousands
WIDE = 20  # the ratio of the largest to the least value beyond which an axis is logarithmic


def draw_history(history: Mapping[str, np.ndarray]) -> Figure:
    """Draw losses, reconstruction and KL against the iteration; the warm-up is shaded."""
    figure = Figure(figsize=(8.2, 2.7))
    iteration = history.get("iteration", np.zeros(0))
    introspective = history.get("phase", np.ones_like(iteration)) == 1
    for axes, (name, lines) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        _draw_lines(axes, iteration, history, lines)
        if introspective.any() and not introspective.all():
            begin = iteration[introspective][0]
            axes.axvspan(iteration[0], begin, color="#888888", alpha=0.15, linewidth=0)
        axes.set(title=name, xlabel="iteration")
        axes.margins(x=0.01)
        _count(axes, in_thousands=len(iteration) > 0 and iteration[-1] >= MANY)
    return figure


def _draw_lines(axes: Axes, iteration: np.ndarray, history: Mapping[str, np.ndarray], lines: Mapping[str, str]) -> None:
    """Draw the columns that the history has, each by its name in ``lines``."""
    present = {}
    for column, name in lines.items():
        values = history.get(column, np.zeros(0))
        if np.isfinite(values).any():
            present[name] = values
    if not present:
        axes.text(0.5, 0.5, "nothing logged", ha="center", transform=axes.transAxes)
        return
    for (name, values), (colour, dash) in zip(present.items(), LINES, strict=False):
        axes.plot(iteration, values, color=colour, linestyle=dash, label=name)
    found = np.concatenate(list(present.values()))
    finite = found[np.isfinite(found)]
    if finite.min() > 0 and finite.max() > WIDE * finite.min():
        axes.set_yscale("log")
    axes.legend(loc="best", handlelength=2.2, labelspacing=0.2)


def _count(axes: Axes, in_thousands: bool) -> None:
    """Label the iterations, as `20k` where they are many."""

    def label(value: float, _: int) -> str:
        return f"{value / 1000:g}k" if in_thousands and value else f"{value:g}"

    axes.xaxis.set_major_formatter(label)
    axes.xaxis.get_major_locator().set_params(nbins=5)
