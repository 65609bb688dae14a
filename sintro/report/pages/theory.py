"""The page of the exact equilibrium, and what claim C6 takes from its results."""

from pathlib import Path

from matplotlib import rc_context

from sintro import SintroError
from sintro.basics.files import write_atomic
from sintro.report.figures.style import VECTOR, to_svg
from sintro.report.figures.theory import FIGURES, LEAST, read_result
from sintro.report.numbers.facts import code_of
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
        write_atomic(Path(reports, PAGE), render("theory.html", PAGE, games=games, broken=broken, short=short))
    return games


def _view(result: View) -> View:
    """Lay out what the page shows of one result."""
    name = "{points} points, alpha {alpha:g}, gamma {gamma:g}, seed {seed}".format(**result["settings"])
    with rc_context(VECTOR):
        figures = [
            {"title": title, "svg": to_svg(draw(result), f"{name}. {title}")} for draw, title in FIGURES.values()
        ]
    return {
        "name": name,
        "id": name.replace(", ", "-").replace(" ", ""),
        "figures": figures,
        "command": result["command"],
        "data": list(map(short, result["data"])),
        "findings": result["findings"],
        "verdict": result["verdict"],
        "sweep": result["sweep"],
        "prior": result["prior"],
        "code": code_of(result["provenance"]),
        "provenance": {name: result["provenance"].get(name) for name in SHOWN_PROVENANCE},
    }


def short(value: float) -> str:
    """Spell three digits; what is rounding only, as 0."""
    return "0" if abs(value) < LEAST else f"{value:.3g}"
