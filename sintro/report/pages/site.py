"""The site: `reports/index.html`, a page per study, per group of seeds and per cell, all made from result folders."""

import sys
from collections.abc import Collection
from pathlib import Path

from sintro import SintroError
from sintro.basics.files import write_atomic
from sintro.cells import studies
from sintro.report.numbers import archived, errors
from sintro.report.numbers.study import read_study, tables_of
from sintro.report.pages.overview import build as build_overview
from sintro.report.pages.study import build_study
from sintro.report.pages.theory import build as build_theory
from sintro.report.pages.writer import STYLE, TEMPLATES
from sintro.runs.archived import FOLDER


def present(results: Path, in_archives: Collection[str] = ()) -> list[str]:
    """List the studies with results: a folder or archived ones, and unions with at least one part that has some.

    A study whose file is broken is told on stderr and left out, so that the others keep their pages.
    """
    names = studies.names()
    found = {name for name in names if (Path(results) / name).is_dir() or name in in_archives}
    listed = []
    for name in names:
        try:
            has_results = not found.isdisjoint(with_parts(name))
        except SintroError as error:
            print(f"warning: {error}", file=sys.stderr)
            continue
        if has_results:
            listed.append(name)
    return listed


def _note_unknown(archives: archived.Archives) -> None:
    """Say on stderr which archives are of studies that are not here, since no page shows their cells."""
    known = studies.names()
    for path, name in sorted({(place.archive, Path(cell).parts[1]) for cell, place in archives.places.items()}):
        if name not in known:
            file = f"workflow/studies/{name}.yaml"
            print(f"note: {path}: no page shows its cells, since there is no study {name!r} ({file})", file=sys.stderr)


def with_parts(name: str) -> list[str]:
    """List a study after the parts that it unites, at any depth: the page of a union links to the pages of its parts.

    Raises SintroError for an unknown study.
    """
    parts = studies.load(name).include or ()
    return [*(each for part in parts for each in with_parts(part)), name]


def build(
    studies_asked: list[str] | None = None,
    results: Path = Path("results"),
    reports: Path = Path("reports"),
    archive: Path = FOLDER,
    archived_only: bool = False,
    self_contained: bool = False,
) -> list[Path]:
    """Build the pages of the studies asked for (all with results by default) and `index.html` -> the main pages.

    A union is built after its parts.
    Where ``results`` lacks a cell, its run in an archive of the folder ``archive`` is shown, marked as such;
    ``archived_only`` shows these alone. A cell's page links to its style and to the pictures in the cell's folder;
    ``self_contained`` pages carry them in themselves.

    Raises SintroError for an unknown study, or when the reports folder cannot be written.
    """
    results, reports = Path(results), Path(reports)
    archives = archived.open_all(archive, reports)
    if archived_only:
        results = reports / archived.CACHE / archived.NOTHING
    _note_unknown(archives)
    known = present(results, archives.studies)
    asked = list(dict.fromkeys(each for name in studies_asked or known for each in with_parts(name)))
    read = {name: read_study(name, results, archives) for name in asked}
    write_atomic(reports / STYLE, (TEMPLATES / STYLE).read_bytes())
    built = {name: build_study(report, reports, self_contained) for name, report in read.items()}
    # The pages over all studies show those that were not asked for as well, the known ones first.
    order = dict.fromkeys([*known, *asked])
    everything = [read.get(name) or read_study(name, results, archives) for name in order]
    tables = {name: made for name, (_, made) in built.items()}
    others = [report for report in everything if report.name not in built]
    tables |= {report.name: tables_of(report, errors.floors_of(report.results)) for report in others}
    games = build_theory(results, reports)
    paths = [path for path, _ in built.values()]
    return [*paths, build_overview(everything, tables, reports, games)]
