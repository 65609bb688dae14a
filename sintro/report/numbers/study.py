"""The tables that a study can fill."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sintro import SintroError, studies
from sintro.cells import DENSITIES
from sintro.report.numbers.facts import shortened, study_facts
from sintro.report.numbers.results import Result, check_complete, read_cells
from sintro.report.numbers.tables import (
    TABLE1,
    Floor,
    Table,
    family,
    image_measures,
    is_density,
    make_table,
    select_weight,
)


def tables_of(report: Any, floors: Mapping[str, Floor]) -> list[Table]:
    """The tables a study can fill: Table 1's layout for 2D cells, Tables 2 and 5 for images."""
    plane = [r for r in report.results if is_density(r)]
    images = [r for r in report.results if not is_density(r)]
    made = []
    if plane:
        title = "2D densities, in the layout of Table 1"
        made.append(make_table("table1", title, plane, TABLE1, floors))
    if images:
        measures = image_measures(images)
        if any(r.cell.regularizer_spec.responsibility for r in images):
            chosen, notes = select_weight(images, measures[1].published, lower_is_better=True)
            title = "Images, in the layout of Table 2: per row and data set the r with the best published FID"
            made.append(make_table("table2", title, chosen, measures, floors, notes, family))
        made.append(make_table("table5", "Images, every r, in the layout of Table 5", images, measures, floors))
    kept = {id(result) for table in made for result in table.results}
    if len(kept) != len(report.results):
        raise AssertionError(f"study {report.name}: {len(report.results)} results, {len(kept)} of them in a table")
    return made


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
        return study_facts(self.results)


def read_study(name: str, results: Path) -> StudyReport:
    """Read every cell of a study; as many results as the study has cells, or an error."""
    study = studies.load(name)
    cells = study.cells()
    digests, unresolved, short = {}, "", {}
    for cell in cells:
        try:
            settings = studies.settings(cell)
        except SintroError as error:
            unresolved = str(error)
            continue
        digests[cell.path] = settings.digest
        kind = (cell.study, cell.dataset in DENSITIES, cell.objective_name, cell.prior_spec.kind)
        if kind not in short:
            short[kind] = shortened(settings, cell)
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
