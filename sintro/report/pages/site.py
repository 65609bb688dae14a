"""The site: `reports/index.html`, a page per study, per group of seeds and per cell, all made from result folders."""

from pathlib import Path

from sintro import studies
from sintro.report.numbers.study import read_study, tables_of

# --- tables of a study
from sintro.report.pages.overview import build as build_overview
from sintro.report.pages.study import build_study
from sintro.report.pages.theory import build as build_theory


def present(results: Path) -> list[str]:
    """The studies that have results: those with a folder, and the unions of which a part has one."""
    found = {name for name in studies.names() if (Path(results) / name).is_dir()}
    return [n for n in studies.names() if n in found or found & set(studies.load(n).include or ())]


def build(studies_asked: list[str] | None = None, results: Path = Path("results"), reports: Path = Path("reports")):
    """Build the pages of the studies asked for (all with results by default) and `index.html` -> the main pages.

    Raises SintroError for an unknown study, or when the reports folder cannot be written.
    """
    results, reports = Path(results), Path(reports)
    names = list(dict.fromkeys(studies_asked)) if studies_asked else present(results)
    asked = {name: read_study(name, results) for name in names}
    paths = [build_study(report, reports) for report in asked.values()]
    everything = [asked.get(name) or read_study(name, results) for name in present(results)]
    everything += [report for name, report in asked.items() if name not in {r.name for r in everything}]
    games = build_theory(results, reports)
    made = {report.name: tables_of(report, {}) for report in everything}
    return [*paths, build_overview(everything, made, reports, games)]
