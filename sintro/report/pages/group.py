"""The page of a group: the training runs of one row and data set, which differ in their seed only."""

from collections.abc import Sequence

from sintro.report.figures.study import band
from sintro.report.numbers.detection import PREFIX
from sintro.report.numbers.results import Result
from sintro.report.numbers.study import StudyReport
from sintro.report.numbers.tables import FORMS, Measure, Table, seed_text
from sintro.report.pages.writer import View, Writer, cell_page, group_page, page_key, render, result_stamp


def build_group(writer: Writer, report: StudyReport, members: Sequence[Result], tables: Sequence[Table]) -> None:
    """Write the page of a group: its seeds side by side, in a table per table of the study, and their histories."""
    page = group_page(members)
    shortened = report.shortened_of(members)
    own = own_tables(members, tables)

    def make() -> str:
        return render(
            "group.html",
            page,
            report=report,
            shortened=shortened,
            members=members,
            blocks=[_block(table, members) for table in own],
            band=band(members),
            cell_page=cell_page,
            first=members[0],
        )

    columns = [(table.name, measure.published) for table in own for measure in table.measures]
    about = (report.title, report.comparable, shortened, columns)
    writer.page(page, page_key(about, [result_stamp(result) for result in members]), make)


def own_tables(members: Sequence[Result], tables: Sequence[Table]) -> list[Table]:
    """Find the study's tables that a group's cells are in; of tables with the same columns, the last (every r)."""
    paths = {result.cell.path for result in members}
    found: dict[tuple[Measure, ...], Table] = {}
    for table in tables:
        is_own = any(result.cell.path in paths for result in table.results)
        if is_own:
            found[table.measures] = table
    return list(found.values())


def _block(table: Table, members: Sequence[Result]) -> View:
    """Lay out the seeds' numbers of one table's columns; a metric of one form only stands there once."""
    columns, heads = [], []
    for measure in table.measures:
        has_one_form = measure.published == measure.standard
        for form in FORMS[:1] if has_one_form else FORMS:
            label = measure.label(form)
            columns.append((measure, form))
            heads.append(label if has_one_form else f"{label} ({form})")
    seeds = [
        {"result": result, "values": [seed_text(result, measure, form) for measure, form in columns]}
        for result in members
    ]
    return {"title": table.title, "heads": heads, "seeds": seeds, "folded": table.name.startswith(PREFIX)}
