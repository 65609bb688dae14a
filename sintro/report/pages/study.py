"""The page of a study: its tables, pictures and comparisons, and the cells that are not simply done."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sintro.report.figures.maps import read_grid
from sintro.report.figures.samples import samples_view
from sintro.report.figures.study import study_pictures
from sintro.report.figures.translation import grids_view
from sintro.report.numbers import detection, errors, exports, overall, translation
from sintro.report.numbers.results import Result, grouped
from sintro.report.numbers.study import StudyReport, tables_of
from sintro.report.numbers.tables import SPREADS, Entry, Floor, Table
from sintro.report.pages.cell import build_cell
from sintro.report.pages.group import build_group
from sintro.report.pages.overall import overall_views
from sintro.report.pages.stability import stability_view
from sintro.report.pages.tables import comparisons_view, table_view
from sintro.report.pages.writer import View, Writer, cell_page, group_page, relative, render
from sintro.runs.results import STATES

MOST_PROBLEMS = 100  # cells of one state that are listed
CONTENTS = {  # the table of contents calls a section by its id
    "maps": "Density maps",
    "samples": "Samples",
    "translations": "Translations",
    "translation": "Translations of unseen classes",
    "translation-labels": "Translations of unseen classes, with labels",
    "translation-codes": "What is in the codes",
    "table1": "2D densities (Table 1)",
    "table2": "Images, the best r (Table 2)",
    "table5": "Images, every r (Table 5)",
    "errors": "2D densities by kind of error",
    "errors-images": "Images: kernel distance and coverage",
    "overall": "Over all data sets",
    "detection": "Out-of-distribution detection",
    "pictures": "Plots",
    "stability": "Stability over the hyper-parameters",
    "comparisons": "Each row against the best",
    "problems": "Cells that are not simply done",
}


def build_study(report: StudyReport, reports: Path, self_contained: bool = False) -> tuple[Path, list[Table]]:
    """Write a study's page, its exports, and the pages of its groups and cells; a union links to its parts' pages.

    Returns the page's path, and the tables in the papers' layout, which take too long to be made twice.
    ``self_contained``: pages of cells carry their style and pictures in themselves.
    """
    writer = Writer(reports, report.name, self_contained)
    floors = errors.floors_of(report.results)
    made = tables_of(report, floors)
    more = [*translation.tables_of(report.results), *errors.tables_of(report.results, floors)]
    detected = detection.tables_of(report.results)
    groups = grouped(report.results, lambda result: result.group)
    if not report.parts:
        _build_parts(writer, report, groups.values(), floors, [*made, *more, *detected])
    page = f"{report.name}/index.html"
    view = _view(writer, report, page, groups, made, more, detected)
    writer.always(page, render("study.html", page, **view))
    writer.finish()
    return reports / page, made


def _build_parts(
    writer: Writer,
    report: StudyReport,
    groups: Iterable[Sequence[Result]],
    floors: Mapping[str, Floor],
    tables: Sequence[Table],
) -> None:
    """Write the pages of a study's own groups and cells."""
    for members in groups:
        floor = floors.get(members[0].cell.dataset, {})
        for result in members:
            build_cell(writer, report, result, members, floor)
        if len(members) > 1:
            build_group(writer, report, members, tables)


def _view(
    writer: Writer,
    report: StudyReport,
    page: str,
    groups: Mapping[tuple, Sequence[Result]],
    made: Sequence[Table],
    more: Sequence[Table],
    detected: Sequence[Table],
) -> View:
    """Collect what the study's page shows, and write the exports and pictures beside it.

    ``made``: the tables in the papers' layout; ``more``: those of metrics that the papers do not have.
    """

    def cell_link(result: Result) -> str:
        return relative(cell_page(result), page)

    def entry_link(entry: Entry) -> str:
        # A row of Table 2 is one group too: the r was chosen.
        return relative(group_page(groups[entry.results[0].group]), page)

    def laid_out(table: Table) -> View:
        return table_view(table, entry_link) | {"exports": export(writer, report.name, table)}

    grid = read_grid(report.results)
    picture = grid.png() if grid else None
    if picture is not None:
        writer.always(f"{report.name}/density-maps.png", picture)
    stability = None if report.parts else stability_view(report.results)
    if stability is not None:
        writer.always(f"{report.name}/tables/stability.csv", stability["csv"])
    aggregates = overall.overall([*made, *more])
    if aggregates:
        writer.always(f"{report.name}/tables/overall.csv", overall.to_csv(aggregates))
    view = {
        "maps": grid.view(cell_link) if picture is not None else None,
        "samples": samples_view(report.results, cell_link),
        "translations": translations_view(report.results, cell_link),
        "tables": [laid_out(table) for table in (*made, *more)],
        "overall": overall_views(aggregates),
        "detection": [laid_out(table) | {"summary": detection.summary(table)} for table in detected],
        "pictures": study_pictures(made),
        "stability": stability,
        "comparisons": [block for table in (*made, *more, *detected) for block in comparisons_view(table)],
        "problems": problem_views(report.results, cell_link),
    }
    return view | {"contents": contents_of(view), "report": report, "facts": report.facts, "spreads": SPREADS}


def translations_view(results: Sequence[Result], link: Callable[[Result], str]) -> View | None:
    """Lay out the grids of translations and the rows without a model; None where no cell has any."""
    grids, references = grids_view(results, link), translation.references_of(results)
    return {"grids": grids, "references": references} if grids or references else None


def contents_of(view: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List the sections of a study's page in their order: the id of each, and what the table of contents calls it."""
    sections = [name for name, content in view.items() if content]
    tables = [table["name"] for table in view["tables"]]
    present = {*sections, *tables}
    return [(name, title) for name, title in CONTENTS.items() if name in present]


def export(writer: Writer, study: str, table: Table) -> list[dict[str, str]]:
    """Write the table as CSV, LaTeX and Markdown beside the study's page -> address and name of each file."""
    has_two = len(table.forms) > 1
    files = [(".csv", "CSV, both forms, all spreads" if has_two else "CSV, all spreads", exports.to_csv(table))]
    for form in table.forms:
        ending, which = (f"-{form}", f", {form}") if has_two else ("", "")
        files.append((f"{ending}.tex", f"LaTeX{which}", exports.to_latex(table, form)))
        files.append((f"{ending}.md", f"Markdown{which}", exports.to_markdown(table, form)))
    links = []
    for ending, label, text in files:
        address = f"tables/{table.name}{ending}"
        writer.always(f"{study}/{address}", text)
        links.append({"href": address, "label": label})
    return links


# --- cells that are not simply done


def problem_views(results: Iterable[Result], link: Callable[[Result], str]) -> list[View]:
    """List the cells that are not simply done, by state, each with the reason; and how many of them there are."""
    groups = []
    for state in (*STATES[1:], "done"):
        found = [result for result in results if result.state == state]
        title = state
        if state == "done":
            title = "done, with remarks"
            found = [result for result in found if result.notes or _not_finite(result)]
        if not found:
            continue
        lines = [
            {"path": result.cell.path, "link": link(result), "reason": _reason(result)}
            for result in found[:MOST_PROBLEMS]
        ]
        groups.append({"state": state, "title": title, "count": len(found), "lines": lines})
    return groups


def _not_finite(result: Result) -> list[str]:
    return [name for name, value in result.metrics.items() if not math.isfinite(value)]


def _reason(result: Result) -> str:
    """Say why a cell is not simply done."""
    parts = [result.reason, *result.notes]
    bad = _not_finite(result)
    if bad:
        parts.append(f"not finite: {', '.join(bad)}")
    return "; ".join(filter(None, parts))
