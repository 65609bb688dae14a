"""The page of a study: its tables, pictures and comparisons, and the cells that are not simply done."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sintro.report.figures import maps
from sintro.report.figures.study import study_pictures
from sintro.report.numbers import detection, errors, exports, tables
from sintro.report.numbers.results import STATES, Result, by_group
from sintro.report.numbers.study import StudyReport
from sintro.report.numbers.study import tables_of as study_tables
from sintro.report.pages.cell import build_cell
from sintro.report.pages.group import build_group
from sintro.report.pages.stability import stability_view
from sintro.report.pages.tables import comparisons_view, table_view
from sintro.report.pages.writer import Writer, cell_page, group_page, relative, render


def export(writer: Writer, study: str, table: tables.Table) -> list[dict[str, str]]:
    """Write the table as CSV, LaTeX and Markdown beside the study's page -> name and address of each file."""
    files = {f"{table.name}.csv": ("CSV, both forms, all spreads", exports.to_csv(table))}
    for form in tables.FORMS:
        files[f"{table.name}-{form}.tex"] = (f"LaTeX, {form}", exports.to_latex(table, form))
        files[f"{table.name}-{form}.md"] = (f"Markdown, {form}", exports.to_markdown(table, form))
    for name, (_, text) in files.items():
        writer.always(f"{study}/tables/{name}", text)
    return [{"href": f"tables/{name}", "label": label} for name, (label, _) in files.items()]


def build_study(report: StudyReport, reports: Path) -> Path:
    """A study's page, its exports, and the pages of its own groups and cells; a union links to its parts' pages."""
    writer = Writer(reports, report.name)
    floors = errors.floors_of(report.results)
    made = study_tables(report, floors)
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
    stable = None if report.parts else stability_view(report.results)
    if stable is not None:
        writer.always(f"{report.name}/tables/stability.csv", stable["csv"])
    text = render(
        "study.html", page, report=report, facts=report.facts, problems_found=problem_views(
            report.results, lambda r: relative(cell_page(r), page)),
        tables=[table_view(t, entry_link) | {"exports": export(writer, report.name, t)} for t in shown],
        comparisons=[c for t in shown for c in comparisons_view(t)],
        grid=maps.grid_view(report.results, lambda r: relative(cell_page(r), page)), picture=picture is not None,
        pictures=study_pictures(made), spreads=tables.SPREADS, stability=stable,
    )  # fmt: skip
    writer.always(page, text)
    writer.finish()
    return reports / page


def problem_views(results: Iterable[Result], link: Callable[[Result], str], most: int = 100) -> dict[str, Any]:
    """The cells that are not simply done, with the reason: at most ``most`` of each state, and how many there are."""
    groups = []
    for state in (*STATES[1:], "done"):
        found = [r for r in results if r.state == state and (state != "done" or r.notes or _not_finite(r))]
        if not found:
            continue
        lines = [{"path": r.cell.path, "link": link(r), "reason": _reason(r)} for r in found[:most]]
        title = "done, with remarks" if state == "done" else state
        groups.append({"state": state, "title": title, "count": len(found), "lines": lines})
    return {"groups": groups, "most": most}


def _not_finite(result: Result) -> list[str]:
    return [name for name, value in result.metrics.items() if not math.isfinite(value)]


def _reason(result: Result) -> str:
    parts = [result.reason, *result.notes]
    if bad := _not_finite(result):
        parts.append(f"not finite: {', '.join(bad)}")
    return "; ".join(filter(None, parts))
