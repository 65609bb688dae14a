"""``make readme-results``: the tables of archived runs in README.md and the docs, which no hand types.

A table's place is between ``<!-- archived STUDY: METRIC -->`` and ``<!-- end -->``: a row for each objective and prior,
a column for each data set, mean and spread over seeds as the study's page shows them. Several metrics of a study with
one data set, separated by commas, have a column each.

Run as ``python -m sintro.report.pages.documents [--write]``: exit code 1 where a table is not what the archive says.
"""

import itertools
import re
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from sintro import SintroError
from sintro.basics.files import write_atomic
from sintro.report.numbers import archived, errors
from sintro.report.numbers.study import read_study
from sintro.report.numbers.tables import Key, Measure, Table, make_table
from sintro.runs.archived import FOLDER

DOCUMENTS = (Path("README.md"), Path("docs/results.md"), Path("docs/translation.md"))
PLACE = re.compile(r"(<!-- archived ([\w-]+): ([\w, ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, archive: Path = FOLDER) -> str:
    """Fill every table of a document anew from the archived runs.

    Raises SintroError where the archive has no finished cell of a study that the document names.
    """

    def table(place: re.Match) -> str:
        begin, study, metrics, end = place.groups()
        return begin + markdown(archived_table(study, tuple(metrics.split(", ")), archive)) + end

    return PLACE.sub(table, text)


@lru_cache
def archived_table(study: str, metrics: tuple[str, ...], archive: Path) -> Table:
    """Collect these metrics of a study's archived runs."""
    with tempfile.TemporaryDirectory() as unpacked:
        archives = archived.open_all(archive, Path(unpacked))
        report = read_study(study, Path(unpacked, archived.NOTHING), archives)
        if not any(result.state == "done" for result in report.results):
            raise SintroError(f"{archive}: no finished cell of study {study}; sintro archive {study} packs some")
        return make_table(
            "archived", study, report.results, [Measure(one, one) for one in metrics], errors.floors_of(report.results)
        )


def markdown(table: Table) -> str:
    """Lay out a table: rows as they are on the study's page, then the floor."""
    columns = list(itertools.product(table.datasets, table.measures))
    heads = [dataset if len(table.measures) == 1 else measure.metric("published").label for dataset, measure in columns]
    lines = [["objective", "prior", *heads, "seeds"], ["---"] * (len(heads) + 3)]
    for row in table.rows:
        texts = [table.text(row, dataset, measure, "published", "published") for dataset, measure in columns]
        lines.append([*_labels(row), *texts, _seeds(table, row)])
    floors = [table.floor_text(dataset, measure, "published") for dataset, measure in columns]
    if any(floors):
        lines.append(["a perfect model", "", *floors, ""])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).replace(" ± ", "±")


def _labels(row: Key) -> tuple[str, str]:
    """Name a row's objective, and its prior with the regularizers."""
    objective, prior, regularizers = row
    return objective, prior if regularizers == "none" else f"{prior}, {regularizers}"


def _seeds(table: Table, row: Key) -> str:
    """Count a row's finished seeds: one number, or the fewest and the most over the data sets."""
    counts = [
        table.entries[row, dataset].states["done"] for dataset in table.datasets if (row, dataset) in table.entries
    ]
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def main(write: bool) -> int:
    """Check the documents, or write them anew. Returns the exit code."""
    stale = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        current = filled(text)
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
