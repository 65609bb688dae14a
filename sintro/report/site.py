"""The site: `reports/index.html`, a page per study, per group of seeds and per cell, all made from result folders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sintro import SintroError, studies
from sintro.cells import DENSITIES
from sintro.report import (
    cellviews,
    detection,
    errors,
    exports,
    histories,
    maps,
    overview,
    stability,
    tables,
    theory,
    views,
)
from sintro.report.pages import Writer, cell_page, group_page, page_key, relative, render, result_stamp
from sintro.report.results import Result, by_group, check_complete, read_cells


@dataclass(eq=False)
class StudyReport:
    """A study, its cells' results, and what its pages say of it."""

    study: Any
    name: str
    results: list[Result]
    root: Path  # of the results
    parts: tuple[str, ...] = ()
    unresolved: str = ""  # why the settings of the study's cells could not be worked out
    shortened: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The study's title, or its name."""
        return self.study.title or self.name

    @property
    def comparable(self) -> bool:
        """May its numbers stand beside the papers'?"""
        return bool(self.study.comparable)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Counts, commits, hardware, dates, cost."""
        return views.study_facts(self.results)


def read_study(name: str, results: Path) -> StudyReport:
    """Read every cell of a study; as many results as the study has cells, or an error."""
    study = studies.load(name)
    cells = study.cells()
    digests, unresolved, short = {}, study.left_out_in_words, {}
    for cell in cells:
        try:
            settings = studies.settings(cell)
        except SintroError as error:
            unresolved = str(error)
            continue
        digests[cell.path] = settings.digest
        kind = (cell.study, cell.dataset in DENSITIES, cell.objective_name, cell.prior_spec.kind)
        if kind not in short:
            short[kind] = views.shortened(settings, cell)
    found = read_cells(cells, results, digests)
    check_complete(found, [cell.path for cell in cells])
    changes = _differences(short)
    return StudyReport(study, name, found, Path(results), tuple(study.include or ()), unresolved, changes)


def _differences(short: Mapping[tuple, Sequence[str]]) -> tuple[str, ...]:
    """How the kinds of cells differ from the published ones; what concerns images says so where a study has both."""
    plane = [change for kind, changed in short.items() if kind[1] for change in changed]
    images = [change for kind, changed in short.items() if not kind[1] for change in changed]
    if plane and images:
        images = [change if change in plane else f"images: {change}" for change in images]
    return tuple(dict.fromkeys([*plane, *images]))


# --- tables of a study


def tables_of(report: StudyReport, floors: Mapping[str, tables.Floor]) -> list[tables.Table]:
    """The tables a study can fill: Table 1's layout for 2D cells, Tables 2 and 5 for images."""
    plane = [r for r in report.results if tables.is_density(r)]
    images = [r for r in report.results if not tables.is_density(r)]
    made = []
    if plane:
        title = "2D densities, in the layout of Table 1"
        made.append(tables.make_table("table1", title, plane, tables.TABLE1, floors))
    if images:
        measures = tables.image_measures(images)
        if any(r.cell.regularizer_spec.responsibility for r in images):
            chosen, notes = tables.select_weight(images, measures[1].published, lower_is_better=True)
            title = "Images, in the layout of Table 2: per row and data set the r with the best published FID"
            made.append(tables.make_table("table2", title, chosen, measures, floors, notes, tables.family))
        made.append(tables.make_table("table5", "Images, every r, in the layout of Table 5", images, measures, floors))
    kept = {id(result) for table in made for result in table.results}
    if len(kept) != len(report.results):
        raise AssertionError(f"study {report.name}: {len(report.results)} results, {len(kept)} of them in a table")
    return made


def export(writer: Writer, study: str, table: tables.Table) -> list[dict[str, str]]:
    """Write the table as CSV, LaTeX and Markdown beside the study's page -> name and address of each file."""
    files = {f"{table.name}.csv": ("CSV, both forms, all spreads", exports.to_csv(table))}
    for form in tables.FORMS:
        files[f"{table.name}-{form}.tex"] = (f"LaTeX, {form}", exports.to_latex(table, form))
        files[f"{table.name}-{form}.md"] = (f"Markdown, {form}", exports.to_markdown(table, form))
    for name, (_, text) in files.items():
        writer.always(f"{study}/tables/{name}", text)
    return [{"href": f"tables/{name}", "label": label} for name, (label, _) in files.items()]


# --- pages


def build_cell(writer: Writer, report: StudyReport, result: Result, siblings: Sequence[Result], floor: Mapping) -> None:
    """The page of one cell."""
    page = cell_page(result)

    def make() -> str:
        return render(
            "cell.html", page, report=report, result=result, siblings=siblings, cell_page=cell_page,
            group=group_page(siblings), command=cellviews.command_of(result), figures=cellviews.figure_views(result),
            metrics=cellviews.metric_views(result, floor), settings=cellviews.setting_views(result),
            provenance=cellviews.provenance_views(result), extra=cellviews.extra_views(result),
            data_note=cellviews.data_note(result),
        )  # fmt: skip

    beside = [(s.cell.seed, s.state) for s in siblings]
    about = (report.title, report.comparable, report.shortened, sorted(floor.items()), beside)
    writer.page(page, page_key(about, result_stamp(result)), make)


def build_group(writer: Writer, report: StudyReport, members: Sequence[Result], measures: Sequence) -> None:
    """The page of one row and data set: its seeds side by side and their histories."""
    page = group_page(members)

    def make() -> str:
        seeds = [
            {
                "result": r,
                "values": [tables.seed_text(r, m, f) for m in measures for f in tables.FORMS],
            }
            for r in members
        ]
        heads = [f"{m.label(f)} ({f})" for m in measures for f in tables.FORMS]
        band = histories.band(members)
        return render("group.html", page, report=report, members=members, seeds=seeds, heads=heads, band=band,
                      cell_page=cell_page, first=members[0])  # fmt: skip

    about = (report.title, report.comparable, report.shortened, [m.published for m in measures])
    writer.page(page, page_key(about, [result_stamp(r) for r in members]), make)


def build_study(report: StudyReport, reports: Path) -> Path:
    """A study's page, its exports, and the pages of its own groups and cells; a union links to its parts' pages."""
    writer = Writer(reports, report.name)
    floors = errors.floors_of(report.results)
    made = tables_of(report, floors)
    page = f"{report.name}/index.html"
    if not report.parts:
        measures = {r.cell.path: t.measures for t in reversed(made) for r in t.results}
        for members in by_group(report.results).values():
            for result in members:
                build_cell(writer, report, result, members, floors.get(result.cell.dataset, {}))
            if len(members) > 1:
                build_group(writer, report, members, measures[members[0].cell.path])
    groups = by_group(report.results)

    def entry_link(entry: tables.Entry) -> str:
        # A row of Table 2 is one group too: the r was chosen.
        return relative(group_page(groups[entry.results[0].group]), page)

    picture = maps.grid_png(report.results)
    shown = [*made, *errors.tables_of(report.results, floors), *detection.tables_of(report.results)]
    if picture is not None:
        writer.always(f"{report.name}/density-maps.png", picture)
    stable = None if report.parts else stability.stability_view(report.results)
    if stable is not None:
        writer.always(f"{report.name}/tables/stability.csv", stable["csv"])
    text = render(
        "study.html", page, report=report, facts=report.facts, problems_found=views.problem_views(
            report.results, lambda r: relative(cell_page(r), page)),
        tables=[views.table_view(t, entry_link) | {"exports": export(writer, report.name, t)} for t in shown],
        comparisons=[c for t in shown for c in views.comparisons_view(t)],
        grid=maps.grid_view(report.results, lambda r: relative(cell_page(r), page)), picture=picture is not None,
        pictures=histories.study_pictures(made), spreads=tables.SPREADS, stability=stable,
    )  # fmt: skip
    writer.always(page, text)
    writer.finish()
    return reports / page


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
    games = theory.build(results, reports)
    made = {report.name: tables_of(report, {}) for report in everything}
    return [*paths, overview.build(everything, made, reports, games)]
