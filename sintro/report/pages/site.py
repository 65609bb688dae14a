"""The site: `reports/index.html`, a page per study, per group of seeds and per cell, all made from result folders."""

from pathlib import Path

from sintro.cells import studies
from sintro.report.numbers.study import read_study, tables_of
from sintro.report.pages.overview import build as build_overview
from sintro.report.pages.study import build_study
from sintro.report.pages.theory import build as build_theory


def present(results: Path) -> list[str]:
    """List the studies that have results: those with a folder, and the unions of which a part has one."""
    names = studies.names()
    found = {name for name in names if (results / name).is_dir()}
    known = []
    for name in names:
        parts = studies.load(name).include or ()
        if not found.isdisjoint([name, *parts]):
            known.append(name)
    return known


def build(
    studies_asked: list[str] | None = None, results: Path = Path("results"), reports: Path = Path("reports")
) -> list[Path]:
    """Build the pages of the studies asked for (all with results by default) and `index.html` -> the main pages.

    Raises SintroError for an unknown study, or when the reports folder cannot be written.
    """
    results, reports = Path(results), Path(reports)
    known = present(results)
    asked = list(dict.fromkeys(studies_asked or known))
    read = {name: read_study(name, results) for name in asked}
    paths = [build_study(report, reports) for report in read.values()]
    # The pages over all studies show those that were not asked for as well, the known ones first.
    order = dict.fromkeys([*known, *asked])
    everything = [read.get(name) or read_study(name, results) for name in order]
    tables = {report.name: tables_of(report, {}) for report in everything}
    games = build_theory(results, reports)
    return [*paths, build_overview(everything, tables, reports, games)]
