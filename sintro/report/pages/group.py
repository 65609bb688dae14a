"""The page of a group: the training runs of one row and data set, which differ in their seed only."""

from collections.abc import Sequence

from sintro.report.figures.study import band
from sintro.report.numbers.results import Result
from sintro.report.numbers.study import StudyReport
from sintro.report.numbers.tables import FORMS, seed_text
from sintro.report.pages.writer import Writer, cell_page, group_page, page_key, render, result_stamp


def build_group(writer: Writer, report: StudyReport, members: Sequence[Result], measures: Sequence) -> None:
    """The page of one row and data set: its seeds side by side and their"""
    page = group_page(members)

    def make() -> str:
        seeds = [
            {
                "result": r,
                "values": [seed_text(r, m, f) for m in measures for f in FORMS],
            }
            for r in members
        ]
        heads = [f"{m.label(f)} ({f})" for m in measures for f in FORMS]
        drawn = band(members)
        return render("group.html", page, report=report, members=members, seeds=seeds, heads=heads, band=drawn,
                      cell_page=cell_page, first=members[0])  # fmt: skip

    about = (report.title, report.comparable, report.shortened, [m.published for m in measures])
    writer.page(page, page_key(about, [result_stamp(r) for r in members]), make)
