"""A study as its pages see it: every cell's result, how its cells differ from the published ones, and its tables."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sintro import SintroError
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.report.numbers import archived
from sintro.report.numbers.archived import Archives
from sintro.report.numbers.facts import shortened, study_facts
from sintro.report.numbers.gone import read_gone
from sintro.report.numbers.ranks import select_weight
from sintro.report.numbers.results import Result, read_cells
from sintro.report.numbers.tables import TABLE1, Floor, Table, family, image_measures, make_table

NO_ARCHIVES = Archives()
Kind = tuple[str, str, str, str]  # of cells that differ from the published ones in the same way


@dataclass(eq=False)
class StudyReport:
    """A study, its cells' results, and what its pages say of it."""

    study: Any
    name: str
    results: list[Result]
    root: Path  # of the results
    parts: tuple[str, ...] = ()
    unresolved: str = ""  # why the settings of the study's cells could not be worked out
    differences: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)  # from the published cells

    @property
    def left_out(self) -> str:
        """Why cells are left out whose extension is broken, or gone without results; empty where none is."""
        return self.study.in_words({path: why for path, why in self.study.left_out.items() if path not in self.gone})

    @property
    def gone(self) -> dict[str, str]:
        """Which extension is missing, by the path of each cell whose results are shown all the same."""
        return {result.cell.path: result.gone for result in self.results if result.gone}

    @property
    def title(self) -> str:
        """The study's title, or its name."""
        return self.study.title or self.name

    @property
    def comparable(self) -> bool:
        """Whether its numbers may stand beside the papers'."""
        return bool(self.study.comparable)

    @property
    def archived(self) -> str:
        """How many of its results are archived runs, and where they are from; empty where none is."""
        return archived.in_words(self.results)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Counts, commits, hardware, dates, cost."""
        return study_facts(self.results)

    @cached_property
    def shortened(self) -> dict[str, list[str]]:
        """How the study's cells differ from the published ones, as ``shortened_of`` groups it."""
        return self.shortened_of(self.results)

    def shortened_of(self, results: Iterable[Result]) -> dict[str, list[str]]:
        """List how these cells differ from the published ones, by the kind of data that a difference concerns.

        Where all cells are of one kind, its name is empty.
        """
        told: dict[str, dict[str, None]] = {}  # kind of data -> its differences in order, each once
        for kind, data in {kind_of(result.cell): result.kind for result in results}.items():
            told.setdefault(data, {}).update(dict.fromkeys(self.differences.get(kind, ())))
        if len(told) < 2:
            groups = {"": [change for changes in told.values() for change in changes]}
        else:
            plane, images = told["2d"], told["images"]
            groups = {
                "2D densities and images": [change for change in plane if change in images],
                "2D densities": [change for change in plane if change not in images],
                "Images": [change for change in images if change not in plane],
            }
        return {name: changes for name, changes in groups.items() if changes}


def kind_of(cell: Cell) -> Kind:
    """Name all that the difference between a cell's settings and the published ones depends on."""
    return (cell.study, cell.dataset, cell.objective_name, cell.prior_spec.kind)


def read_study(name: str, results: Path, archives: Archives = NO_ARCHIVES) -> StudyReport:
    """Read every cell of a study; as many results as the study has cells. Archived runs stand where one is missing.

    Raises SintroError for an unknown study and where a result would be lost.
    """
    study = studies.load(name)
    cells = study.cells()
    digests, unresolved, differences = {}, "", {}
    for cell in cells:
        try:
            settings = studies.settings(cell)
        except SintroError as error:
            unresolved = str(error)
            continue
        digests[cell.path] = settings.digest
        kind = kind_of(cell)
        if kind not in differences:
            differences[kind] = tuple(shortened(settings, cell))
    found = archives.fill(read_cells(cells, results, digests), digests)
    found += read_gone(study.left_out, results)
    parts = tuple(study.include or ())
    return StudyReport(study, name, found, Path(results), parts, unresolved, differences)


def tables_of(report: StudyReport, floors: Mapping[str, Floor]) -> list[Table]:
    """Make the tables that a study can fill: Table 1's layout for 2D cells, Tables 2 and 5 for images."""
    plane = [result for result in report.results if result.kind == "2d"]
    images = [result for result in report.results if result.kind == "images"]
    made = []
    if plane:
        title = "2D densities, in the layout of Table 1"
        made.append(make_table("table1", title, plane, TABLE1, floors))
    if images:
        made += _image_tables(images, floors)
    kept = {id(result) for table in made for result in table.results}
    if len(kept) != len(report.results):
        raise AssertionError(f"study {report.name}: {len(report.results)} results, {len(kept)} of them in a table")
    return made


def _image_tables(images: list[Result], floors: Mapping[str, Floor]) -> list[Table]:
    """Make Table 2, where the study has a responsibility weight to choose, and Table 5."""
    measures = image_measures(images)
    title = "Images, every r, in the layout of Table 5"
    every = make_table("table5", title, images, measures, floors)
    if not any(result.cell.regularizer_spec.responsibility for result in images):
        return [every]
    chosen, notes = select_weight(images, measures[1].published, lower_is_better=True)
    distance = measures[1].label("published")
    title = f"Images, in the layout of Table 2: per row and data set the r with the best published {distance}"
    best = make_table("table2", title, chosen, measures, floors, notes, family)
    best.which, every.which = "the best r of each row", "every r"
    return [best, every]
