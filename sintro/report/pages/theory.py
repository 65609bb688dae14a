"""The page of the exact equilibrium, its two figures, and what claim C6 takes from its results."""

import math
from pathlib import Path
from typing import Any

from matplotlib import rc_context

from sintro import SintroError
from sintro.report.figures.style import VECTOR, to_svg
from sintro.report.figures.theory import FIGURES, LEAST, read_result
from sintro.report.numbers.facts import code_of
from sintro.report.pages.writer import render
from sintro.runs import write_atomic
from sintro.theory.experiment import RESULT

PAGE = "theory/index.html"


def build(results: Path, reports: Path) -> list[dict[str, Any]]:
    """Write the page of all results -> per result its settings, findings and verdict; no results, no page."""
    paths = sorted(Path(results, "theory").glob(f"*/{RESULT}"))
    games, broken = [], []
    for path in paths:
        try:
            games.append(_view(read_result(path)))
        except (SintroError, LookupError, TypeError, ValueError) as error:
            broken.append(f"{path}: {error}" if not isinstance(error, SintroError) else str(error))
    if paths:
        write_atomic(Path(reports, PAGE), render("theory.html", PAGE, games=games, broken=broken))
    return games


def _view(result: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of one result."""
    settings = result["settings"]
    name = "{points} points, alpha {alpha:g}, gamma {gamma:g}, seed {seed}".format(**settings)
    with rc_context(VECTOR):
        figures = [
            {"title": title, "svg": to_svg(figure(result), f"{name}. {title}")} for figure, title in FIGURES.values()
        ]
    return {
        "name": name, "id": name.replace(", ", "-").replace(" ", ""), "figures": figures,
        "command": result["command"], "data": [_short(value) for value in result["data"]],
        "findings": result["findings"], "verdict": result["verdict"],
        "sweep": [_sweep_line(at) for at in result["sweep"]],
        "prior": {"gamma": _short(result["prior"]["gamma"]), "condition": result["prior"]["condition"],
                  "rows": [_prior_line(row) for row in result["prior"]["rows"]]},
        "code": code_of(result["provenance"]),
        "provenance": {k: result["provenance"].get(k) for k in ("dirty", "finished", "hostname", "numpy")},
    }  # fmt: skip


def _sweep_line(at: dict[str, Any]) -> dict[str, Any]:
    rested = at["responses"]["at_rest"]
    return {
        "gamma": _short(at["gamma"]), "condition": at["condition"], "margin": f"{at['margin']:+.2f}",
        "minima": at["local_minima"], "unique": at["unique_by_concavity"], "to_data": _short(at["to_data"]),
        "criterion": f"{at['criterion']:.4f}",
        "responses": _short(at["responses"]["distance"]) if rested else "none found",
        "gain": _short(at["responses"]["gain"]) if rested else "–",
        "gradient": _short(at["gradient"]["distance"]), "gradient_gain": _short(at["gradient"]["gain"]),
    }  # fmt: skip


def _prior_line(row: dict[str, Any]) -> dict[str, Any]:
    ends = {
        kind: _short(row[kind]["distance"]) if row[kind]["at_rest"] else "not at rest"
        for kind in ("fixed", "decoder", "encoder")
    }
    return {"latents": row["latents"], "slopes": {kind: _short(value) for kind, value in row["slopes"].items()}} | ends


def _short(value: float) -> str:
    """Three digits; what is rounding only, as 0."""
    return "0" if abs(value) < LEAST or math.isnan(value) else f"{value:.3g}"
