"""The two figures of the exact equilibrium."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from sintro import SintroError
from sintro.report.figures.style import INK, LINES, STYLE, label_colours, to_png
from sintro.runs import read_json, write_atomic
from sintro.theory.experiment import PUBLISHED_GAMMA, RESULT

LEAST = 1e-12  # total variations below are drawn here


SHOWN = 60  # rounds of best responses that are drawn: what has not come to rest by then goes round in circles


def _colours(result: dict[str, Any]) -> np.ndarray:
    """A colour per data point, by its rank in p_data."""
    return label_colours(np.argsort(np.argsort(result["data"])))


def draw_trajectories(result: dict[str, Any]) -> Figure:
    """Best responses from every start, and the path of p_d under gradient play, for the chosen gamma."""
    plays = result["plays"]
    figure = Figure(figsize=(9.6, 3.2))
    left, right = figure.subplots(1, 2)
    for i, above in enumerate(plays["above"]):
        colour, dash = LINES[i % len(LINES)]
        values = np.maximum(above[:SHOWN], 1e-16)
        left.semilogy(values, color=INK if i == 0 else colour, linestyle=dash, label=f"start {i}")
    left.set(
        title=f"best responses, gamma {plays['gamma']:g}", xlabel="round", ylabel="criterion above its minimum, nats"
    )
    left.legend()
    rounds, path = 1 + np.array(plays["path_rounds"]), np.array(plays["path"])
    for values, goal, colour in zip(path.T, plays["minimiser"], _colours(result), strict=True):
        right.semilogx(rounds, values, color=colour)
        right.plot([rounds[-1] * 1.3], [goal], marker="D", color=colour, markersize=4)
    right.set(title="gradient play from start 0; diamonds: the minimiser", xlabel="step + 1", ylabel="$p_d(x)$")
    return figure


def draw_fixed_points(result: dict[str, Any]) -> Figure:
    """Fixed points against gamma: p_d point by point, and how far what is reached is from what is predicted."""
    sweep = result["sweep"]
    figure = Figure(figsize=(9.6, 3.8))
    left, right = figure.subplots(1, 2)
    gammas = [at["gamma"] for at in sweep]
    rested = [at for at in sweep if at["responses"]["at_rest"]]
    for i, colour in enumerate(_colours(result)):
        left.semilogx(gammas, [at["minimiser"][i] for at in sweep], color=colour)
        reached = [at["responses"]["end"][i] for at in rested]
        left.plot([at["gamma"] for at in rested], reached, "o", color=colour, markersize=3)
    left.set(title="lines: the minimiser; dots: the game at rest", xlabel="gamma", ylabel="$p_d(x)$")
    series = {
        "minimiser to p_data": [(at["gamma"], at["to_data"]) for at in sweep],
        "best responses to minimiser": [(at["gamma"], at["responses"]["distance"]) for at in rested],
        "gradient play to minimiser": [(at["gamma"], at["gradient"]["distance"]) for at in sweep],
        "prior with decoder to minimiser": _third_player(sweep, "decoder"),
        "prior with encoder to minimiser": _third_player(sweep, "encoder"),
    }
    for i, (name, points) in enumerate(series.items()):
        x, y = np.array(points).reshape(-1, 2).T
        colour = INK if i == 0 else LINES[i][0]
        marker = "" if i == 0 else "os^D"[i - 1]
        right.loglog(
            x, np.maximum(y, LEAST), color=colour, linestyle=LINES[i][1], marker=marker, markersize=3, label=name
        )
    right.set(title="total variation", xlabel="gamma")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    for axes in (left, right):
        unmet = [at["gamma"] for at in sweep if not at["condition"]]
        if unmet:
            axes.axvspan(unmet[0], unmet[-1], color="#888888", alpha=0.15, linewidth=0)
        axes.axvline(PUBLISHED_GAMMA, color=INK, linewidth=0.6, linestyle=":")
    return figure


def _third_player(sweep: Sequence[dict[str, Any]], kind: str) -> list[tuple[float, float]]:
    return [(at["gamma"], at["prior"][kind]["distance"]) for at in sweep if "prior" in at]


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


def draw(folder: Path) -> list[Path]:
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
