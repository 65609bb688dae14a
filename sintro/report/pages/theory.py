"""The page of the exact equilibrium, and what claim C6 takes from its results."""

from pathlib import Path

from matplotlib import rc_context

from sintro import SintroError
from sintro.basics.files import write_atomic
from sintro.report.figures.style import VECTOR, to_svg
from sintro.report.figures.theory import FIGURES, LEAST, read_result
from sintro.report.numbers.facts import code_of
from sintro.report.numbers.words import ABSENT
from sintro.report.pages.writer import View, render
from sintro.theory.experiment import RESULT

PAGE = "theory/index.html"
SHOWN_PROVENANCE = ("dirty", "finished", "hostname", "numpy")


def build(results: Path, reports: Path) -> list[View]:
    """Write the page of all results -> per result its settings, findings and verdict; no results, no page."""
    paths = sorted(Path(results, "theory").glob(f"*/{RESULT}"))
    games, broken = [], []
    for path in paths:
        try:
            games.append(_view(read_result(path)))
        except SintroError as error:
            broken.append(str(error))
        except (LookupError, TypeError, ValueError) as error:
            broken.append(f"{path}: {error}")
    if paths:
        write_atomic(Path(reports, PAGE), render("theory.html", PAGE, games=games, broken=broken))
    return games


def _view(result: View) -> View:
    """Lay out what the page shows of one result."""
    name = "{points} points, alpha {alpha:g}, gamma {gamma:g}, seed {seed}".format(**result["settings"])
    with rc_context(VECTOR):
        figures = [
            {"title": title, "svg": to_svg(draw(result), f"{name}. {title}")} for draw, title in FIGURES.values()
        ]
    prior = result["prior"]
    return {
        "name": name,
        "id": name.replace(", ", "-").replace(" ", ""),
        "figures": figures,
        "command": result["command"],
        "data": [_short(value) for value in result["data"]],
        "findings": result["findings"],
        "verdict": result["verdict"],
        "sweep": [_sweep_line(at) for at in result["sweep"]],
        "prior": {
            "gamma": _short(prior["gamma"]),
            "condition": prior["condition"],
            "rows": [_prior_line(row) for row in prior["rows"]],
        },
        "code": code_of(result["provenance"]),
        "provenance": {name: result["provenance"].get(name) for name in SHOWN_PROVENANCE},
    }


def _sweep_line(at: View) -> View:
    """Spell one gamma of the sweep."""
    distance, gain = "none found", ABSENT
    if at["responses"]["at_rest"]:
        distance, gain = _short(at["responses"]["distance"]), _short(at["responses"]["gain"])
    return {
        "gamma": _short(at["gamma"]),
        "condition": at["condition"],
        "margin": f"{at['margin']:+.2f}",
        "minima": at["local_minima"],
        "unique": at["unique_by_concavity"],
        "to_data": _short(at["to_data"]),
        "criterion": f"{at['criterion']:.4f}",
        "responses": distance,
        "gain": gain,
        "gradient": _short(at["gradient"]["distance"]),
        "gradient_gain": _short(at["gradient"]["gain"]),
    }


def _prior_line(row: View) -> View:
    """Spell one size of the latent space: where each game with a prior ends, and the slopes there."""
    line = {"latents": row["latents"]}
    for kind in ("fixed", "decoder", "encoder"):
        end = row[kind]
        line[kind] = _short(end["distance"]) if end["at_rest"] else "not at rest"
    line["slopes"] = {kind: _short(value) for kind, value in row["slopes"].items()}
    return line


def _short(value: float) -> str:
    """Spell three digits; what is rounding only, as 0."""
    return "0" if abs(value) < LEAST else f"{value:.3g}"
