"""``make readme-results``: the tables of archived runs in README.md and the docs, which no hand types.

A table's place is between ``<!-- archived STUDY: METRIC -->`` and ``<!-- end -->``: a row for each objective and prior,
a column for each data set, mean and spread over seeds as the study's page shows them. Several metrics, separated by
commas, have a column each, and then several data sets stand below each other. A data set or a row on which no run has
any of them, and none diverged, is left out.
Between ``<!-- stability of STUDY -->`` and ``<!-- end -->`` stands how each objective fares over the grid of its
hyper-parameters.
Between ``<!-- verdicts of STUDY, STUDY -->`` and ``<!-- end -->`` stands a row for each claim and each study that has
cells for it.

Run as ``python -m sintro.report.pages.documents [--write]``: exit code 1 where a table is not what the archive says.
"""

import itertools
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sintro import SintroError
from sintro.basics.files import write_atomic
from sintro.report.numbers import archived, claim_files, claims, errors
from sintro.report.numbers.exports import FLOORS
from sintro.report.numbers.results import Result
from sintro.report.numbers.stability import numbers_of, sweeps_of
from sintro.report.numbers.statistics import is_known
from sintro.report.numbers.study import StudyReport, read_study
from sintro.report.numbers.tables import Key, Measure, Table, label_in_unit, make_table
from sintro.report.numbers.words import extent
from sintro.report.pages.stability import line_view
from sintro.runs.archived import FOLDER

DOCUMENTS = (Path("README.md"), Path("docs/results.md"), Path("docs/translation.md"))
PLACE = re.compile(r"(<!-- archived ([\w-]+): ([\w, ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
STABILITY = re.compile(r"(<!-- stability of ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
VERDICTS = re.compile(r"(<!-- verdicts of ([\w, -]+) -->\n).*?(<!-- end -->)", re.DOTALL)


Read = Callable[[str], StudyReport]


@contextmanager
def archived_studies(archive: Path = FOLDER) -> Iterator[Read]:
    """Give a function that reads a study from its archived runs, which stay unpacked meanwhile.

    It raises SintroError where the archive has no finished cell of the study.
    """
    with tempfile.TemporaryDirectory() as unpacked:
        archives = archived.open_all(archive, Path(unpacked))

        @cache
        def read(study: str) -> StudyReport:
            report = read_study(study, Path(unpacked, archived.NOTHING), archives)
            if not any(result.state == "done" for result in report.results):
                raise SintroError(f"{archive}: no finished cell of study {study}; sintro archive {study} packs some")
            return report

        yield read


def filled(text: str, read: Read) -> str:
    """Fill every table of a document anew; ``read`` as of :func:`archived_studies`."""

    def table(place: re.Match) -> str:
        begin, study, names, end = place.groups()
        metrics, results = names.split(", "), read(study).results
        measured = [one.cell.axes for one in results if _is_shown(one, metrics)]
        datasets, rows = {dataset for dataset, *_ in measured}, {tuple(row) for _, *row in measured}
        results = [one for one in results if one.cell.axes[0] in datasets and one.cell.axes[1:] in rows]
        measures = [Measure(metric, metric) for metric in metrics]
        return begin + markdown(make_table("archived", study, results, measures, errors.floors_of(results))) + end

    def verdicts(place: re.Match) -> str:
        begin, studies, end = place.groups()
        return begin + verdicts_of([read(study) for study in studies.split(", ")]) + end

    def stability(place: re.Match) -> str:
        begin, study, end = place.groups()
        return begin + stability_of(read(study)) + end

    return STABILITY.sub(stability, VERDICTS.sub(verdicts, PLACE.sub(table, text)))


def _is_shown(result: Result, metrics: Sequence[str]) -> bool:
    """Tell whether a run has any of these metrics, or diverged and so has none."""
    return result.state == "diverged" or any(is_known(result.value(metric)) for metric in metrics)


SILENT = ("not run", "no number")  # verdicts, and states of contrasts, that say nothing of a claim


def verdicts_of(reports: Sequence[StudyReport]) -> str:
    """Lay out the verdict on each claim in each study that has cells for it."""
    lines = [["claim", "study", "verdict", "seeds", "contrasts"], ["---"] * 5]
    for name, claim in claim_files.load().items():
        for report in reports:
            verdict = claims.judge(claim, report.results)
            if verdict.verdict not in SILENT:
                ran = {state: count for state, count in verdict.counts.items() if state not in SILENT}
                counts = ", ".join(f"{count} {state}" for state, count in ran.items())
                lines.append([f"{name}: {claim.title}", report.name, verdict.verdict, extent(*verdict.seeds), counts])
    return _lines(lines)


def stability_of(report: StudyReport) -> str:
    """Lay out how often each objective failed over the grid of its hyper-parameters, and the published KL there."""
    lines = [["data", "objective", "diverged", "collapsed", "KL: median", "middle half", "best"], ["---"] * 7]
    for sweep in sweeps_of(report.results):
        line = line_view(numbers_of(sweep))
        median, quartiles, best, *_ = line["spreads"]
        fates = [line["diverged"], line["collapsed"]]
        lines.append([line["dataset"], line["label"], *fates, median, quartiles, best])
    return _lines(lines)


def markdown(table: Table) -> str:
    """Lay out a table: rows as they are on the study's page, then the floor.

    Several metrics of several data sets stand below each other, one data set after the other.
    """
    if len(table.datasets) == 1 or len(table.measures) == 1:
        return _lines([*_heads(table, table.datasets), *_rows(table, table.datasets)])
    lines = [[head, *line] for head, line in zip(("data", "---"), _heads(table, table.datasets[:1]), strict=True)]
    for dataset in table.datasets:
        lines += [[dataset, *row] for row in _rows(table, [dataset])]
    return _lines(lines)


def _heads(table: Table, datasets: Sequence[str]) -> list[list[str]]:
    """Name the columns for these data sets, with the rule below."""
    labels = [label_in_unit(measure.metric("published")) for measure in table.measures]
    heads = labels if len(datasets) == 1 and len(labels) > 1 else datasets
    return [["objective", "prior", *heads, "seeds"], ["---"] * (len(heads) + 3)]


def _rows(table: Table, datasets: Sequence[str]) -> list[list[str]]:
    """Spell the rows that were run on these data sets, then the floor."""
    columns = list(itertools.product(datasets, table.measures))
    rows = []
    for row in table.rows:
        states = [table.entries[row, one].states for one in datasets if (row, one) in table.entries]
        done, diverged = [each["done"] for each in states], sum(each["diverged"] for each in states)
        if any(done) or diverged:
            texts = [table.text(row, dataset, measure, "published", "published") for dataset, measure in columns]
            seeds = extent(min(done), max(done)) + (f", {diverged} diverged" if diverged else "")
            rows.append([*_labels(row), *texts, seeds])
    floors = [table.floor_text(dataset, measure, "published") for dataset, measure in columns]
    if any(floors):
        rows.append([FLOORS[table.floor_kind], "", *floors, ""])
    return rows


def _lines(rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows).replace(" ± ", "±")


def _labels(row: Key) -> tuple[str, str]:
    """Name a row's objective, and its prior with the regularizers."""
    objective, prior, regularizers = row
    return objective, prior if regularizers == "none" else f"{prior}, {regularizers}"


def main(write: bool) -> int:
    """Check the documents, or write them anew. Returns the exit code."""
    stale = []
    with archived_studies() as read:
        for document in DOCUMENTS:
            text = document.read_text(encoding="utf-8")
            current = filled(text, read)
            if current != text:
                stale.append(str(document))
                if write:
                    write_atomic(document, current)
    if not stale:
        print("every table is what the archive says")
    elif write:
        print(f"written: {', '.join(stale)}")
    else:
        print(f"not what the archive says: {', '.join(stale)}; make readme-results WRITE=1 writes them anew")
    return int(bool(stale) and not write)


if __name__ == "__main__":
    try:
        sys.exit(main("--write" in sys.argv[1:]))
    except SintroError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
