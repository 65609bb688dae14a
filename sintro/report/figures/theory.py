"""The two figures of the exact equilibrium."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sintro import SintroError
from sintro.basics.files import read_json, write_atomic
from sintro.report.figures.style import INK, STYLE, ink_or_line, label_colours, to_png
from sintro.theory.experiment import PUBLISHED_GAMMA, RESULT

LEAST = 1e-12  # total variations below are drawn here
SHOWN = 60  # rounds of best responses that are drawn: what has not come to rest by then goes round in circles
MARKERS = ("", "o", "s", "^", "D")

Points = list[tuple[float, float]]  # (gamma, total variation)


def _colours(result: dict[str, Any]) -> np.ndarray:
    """Choose a colour per data point, by its rank in p_data."""
    ranks = np.argsort(np.argsort(result["data"]))
    return label_colours(ranks)


def draw_trajectories(result: dict[str, Any]) -> Figure:
    """Draw best responses from every start, and the path of p_d under gradient play, for the chosen gamma."""
    figure = Figure(figsize=(9.6, 3.2))
    left, right = figure.subplots(1, 2)
    _draw_responses(left, result["plays"])
    _draw_path(right, result["plays"], _colours(result))
    return figure


def _draw_responses(axes: Axes, plays: dict[str, Any]) -> None:
    """Draw the criterion above its minimum over the rounds of best responses, a line per start."""
    for i, above in enumerate(plays["above"]):
        colour, dash = ink_or_line(i)
        values = np.maximum(above[:SHOWN], 1e-16)
        axes.semilogy(values, color=colour, linestyle=dash, label=f"start {i}")
    title = f"best responses, gamma {plays['gamma']:g}"
    axes.set(title=title, xlabel="round", ylabel="criterion above its minimum, nats")
    axes.legend()


def _draw_path(axes: Axes, plays: dict[str, Any], colours: np.ndarray) -> None:
    """Draw p_d at every data point over the steps of gradient play, and the minimiser behind its end."""
    rounds = 1 + np.array(plays["path_rounds"])
    path = np.array(plays["path"])
    beyond = rounds[-1] * 1.3
    for values, goal, colour in zip(path.T, plays["minimiser"], colours, strict=True):
        axes.semilogx(rounds, values, color=colour)
        axes.plot([beyond], [goal], marker="D", color=colour, markersize=4)
    axes.set(title="gradient play from start 0; diamonds: the minimiser", xlabel="step + 1", ylabel="$p_d(x)$")


def draw_fixed_points(result: dict[str, Any]) -> Figure:
    """Draw fixed points against gamma: p_d point by point, and how far what is reached is from what is predicted."""
    sweep = result["sweep"]
    figure = Figure(figsize=(9.6, 3.8))
    left, right = figure.subplots(1, 2)
    _draw_minimisers(left, sweep, _colours(result))
    _draw_distances(right, sweep)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    unmet = [at["gamma"] for at in sweep if not at["condition"]]
    for axes in (left, right):
        if unmet:
            axes.axvspan(unmet[0], unmet[-1], color="#888888", alpha=0.15, linewidth=0)
        axes.axvline(PUBLISHED_GAMMA, color=INK, linewidth=0.6, linestyle=":")
    return figure


def _at_rest(sweep: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """List what the sweep found at the gammas at which best responses came to rest."""
    return [at for at in sweep if at["responses"]["at_rest"]]


def _draw_minimisers(axes: Axes, sweep: Sequence[dict[str, Any]], colours: np.ndarray) -> None:
    """Draw p_d at every data point against gamma: lines for the minimiser, dots for the game at rest."""
    gammas = [at["gamma"] for at in sweep]
    minimisers = np.array([at["minimiser"] for at in sweep])  # [gammas, points]
    for minimiser, colour in zip(minimisers.T, colours, strict=True):
        axes.semilogx(gammas, minimiser, color=colour)
    for at in _at_rest(sweep):
        places = np.full(len(colours), at["gamma"])
        axes.scatter(places, at["responses"]["end"], s=9, c=colours, linewidths=0)
    axes.set(title="lines: the minimiser; dots: the game at rest", xlabel="gamma", ylabel="$p_d(x)$")


def _draw_distances(axes: Axes, sweep: Sequence[dict[str, Any]]) -> None:
    """Draw the total variations between what is reached and what is predicted, against gamma."""
    series: dict[str, Points] = {
        "minimiser to p_data": [(at["gamma"], at["to_data"]) for at in sweep],
        "best responses to minimiser": [(at["gamma"], at["responses"]["distance"]) for at in _at_rest(sweep)],
        "gradient play to minimiser": [(at["gamma"], at["gradient"]["distance"]) for at in sweep],
        "prior with decoder to minimiser": _third_player(sweep, "decoder"),
        "prior with encoder to minimiser": _third_player(sweep, "encoder"),
    }
    for i, (name, points) in enumerate(series.items()):
        gammas, distances = np.array(points).reshape(-1, 2).T
        colour, dash = ink_or_line(i)
        drawn = np.maximum(distances, LEAST)
        axes.loglog(gammas, drawn, color=colour, linestyle=dash, marker=MARKERS[i], markersize=3, label=name)
    axes.set(title="total variation", xlabel="gamma")


def _third_player(sweep: Sequence[dict[str, Any]], kind: str) -> Points:
    """List how far the game with a learned prior ends from the minimiser."""
    played = [at for at in sweep if "prior" in at]
    return [(at["gamma"], at["prior"][kind]["distance"]) for at in played]


FIGURES = {
    "trajectories": (
        draw_trajectories,
        "Trajectories. Left: what the theory says is minimised, above its minimum, while encoder and decoder answer "
        "each other by exact best responses, from several random starts. Right: p_d at every data point while the "
        "decoder's logits take gradient steps and the encoder answers each.",
    ),
    "fixed-points": (
        draw_fixed_points,
        "Fixed points against gamma. Left: p_d at every data point; towards gamma = 0 the lines end at p_data. Right: "
        f"how far apart they are (values below {LEAST:g} are drawn there). Shaded: the theory's condition does not "
        "hold. Dotted: the published gamma.",
    ),
}


def draw_theory(folder: Path) -> list[Path]:
    """Draw the figures of a result's folder as PNG -> their paths. Raises SintroError for a result that is not ours."""
    result = read_result(Path(folder) / RESULT)
    written = []
    with rc_context(STYLE):
        for name, (figure, _) in FIGURES.items():
            written.append(Path(folder) / f"{name}.png")
            write_atomic(written[-1], to_png(figure(result)))
    return written


def read_result(path: Path) -> dict[str, Any]:
    """Read a result as ``sintro theory`` wrote it. Raises SintroError where it is not one."""
    result = read_json(path)
    needed = {"settings", "data", "sweep", "plays", "prior", "findings", "verdict", "command", "provenance"}
    if not isinstance(result, dict) or not needed <= set(result):
        raise SintroError(f"{path} is no result of sintro theory; delete it and run sintro theory again")
    return result
