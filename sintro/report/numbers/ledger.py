"""The ledger of reported numbers: what the papers and their repositories say, from ``workflow/reported.csv``.

Only numbers that somebody transcribed, with their source, are shown; every other place of the papers' tables says "not
transcribed". Ours stand beside a number only where the metric has the same form, the study is comparable and, where the
number says whose training protocol it belongs to, the study follows that one.
"""

import csv
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from sintro import SintroError
from sintro.cells import components, studies
from sintro.metrics import METRICS
from sintro.report.numbers.results import Result, history_of
from sintro.report.numbers.statistics import Summary, is_known, summarise
from sintro.report.numbers.tables import Table
from sintro.runs.history import HISTORY

NEEDED = ("paper", "source", "transcribed_by")
FORMS = ("published", "standard", "unknown")  # of the metric
HISTORY_METRIC = re.compile(r"history:(?P<column>\w+)@(?P<iteration>\d+)")  # a column of history.csv at an iteration
NEAR = 0.01  # a history's row stands for an iteration that is at most this share of it away
NOT_TRANSCRIBED = "not transcribed"


@dataclass(frozen=True)
class Reported:
    """One reported number. ``value`` is in the unit shown (a metric's stored value times its display scale)."""

    paper: str
    table: str
    row: str
    column: str
    value: float
    spread: float | None
    n: int | None
    form: str
    training: str  # whose protocol the models were trained by (`sintro.cells.components.PROTOCOLS`); empty: either
    dataset: str
    objective: str
    prior: str
    regularizers: str
    metric: str
    source: str
    transcribed_by: str

    @property
    def place(self) -> tuple[str, str, str, str]:
        """The cell: dataset, objective, prior, regularizers."""
        return self.dataset, self.objective, self.prior, self.regularizers


COLUMNS = tuple(field.name for field in fields(Reported))


def load(path: Path | None = None) -> list[Reported]:
    """Read the transcribed numbers; none when there is no file.

    Raises SintroError for a bad entry: file, line, column and what is legal, in one line.
    """
    path = path or studies.folder().parent / "reported.csv"
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise SintroError(f"{path}: legal are exactly the columns {', '.join(COLUMNS)}")
        return [_entry(row, f"{path}, line {number}") for number, row in enumerate(rows, start=2)]


def _entry(row: Mapping[str, Any], where: str) -> Reported:
    """Read one line of the file."""
    if None in row or None in row.values():
        raise SintroError(f"{where}: {len(COLUMNS)} fields are legal")
    _check_words(row, where)
    n = _number(row, "n", where)
    numbers = {"value": _number(row, "value", where, needed=True), "spread": _number(row, "spread", where)}
    return Reported(**(row | numbers | {"n": None if n is None else int(n)}))


def _check_words(row: Mapping[str, str], where: str) -> None:
    """Refuse a line without a source, and an unknown form, protocol or metric."""
    for name in NEEDED:
        if not row[name].strip():
            raise SintroError(f"{where}: {name} is empty; a number without it is not shown")
    if row["form"] not in FORMS:
        raise SintroError(f"{where}: form {row['form']!r} is not one of {', '.join(FORMS)}")
    if row["training"] and row["training"] not in components.PROTOCOLS:
        legal = ", ".join(components.PROTOCOLS)
        raise SintroError(f"{where}: training {row['training']!r} is not one of {legal}, or empty for either")
    metric = row["metric"]
    if metric and metric not in METRICS and not _of_history(metric):
        raise SintroError(
            f"{where}: metric {metric!r} is not one of {', '.join(METRICS)}, nor history:COLUMN@ITERATION with "
            "a column of history.csv"
        )


def _number(row: Mapping[str, str], column: str, where: str, needed: bool = False) -> float | None:
    """Read a finite number; None where the field is empty and may be."""
    text = row[column]
    if not text and not needed:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SintroError(f"{where}: {column} {text!r} is not a number")
    return value


def _of_history(metric: str) -> re.Match | None:
    """Read the column and iteration that `history:COLUMN@ITERATION` names; None where it is no such name."""
    named = HISTORY_METRIC.fullmatch(metric)
    return named if named and named["column"] in HISTORY else None


# --- ours beside a reported number


def compare(entry: Reported, results: Iterable[Result]) -> dict[str, str]:
    """Set ours beside a reported number -> ours, difference, whether the reported one lies in our 95% interval.

    ``results``: of one study, since the settings of others differ. Empty texts, with the reason, where there is nothing
    to compare: another metric, form or protocol, no such cells, too few seeds.
    """
    nothing = {"study": "", "ours": "", "difference": "", "inside": ""}
    if not entry.metric:
        return nothing | {"why": "no metric of ours is named for it"}
    if not _same_form(entry):
        return nothing | {"why": "the form is not the same, or not known"}
    matching = [result for result in results if _is_of(entry, result)]
    values = [_ours(entry.metric, result) for result in matching]
    ours = summarise(list(filter(is_known, values)))
    if ours.n:
        undefined = [value for value in values if value is not None and not is_known(value)]
        diverged = [result for result in matching if result.state == "diverged"]
        return {"study": matching[0].cell.study} | _beside(entry, ours, len(undefined) + len(diverged))
    followed = f" that follows protocol {entry.training}" if entry.training else ""
    return nothing | {"why": f"no such finished cell in a comparable study{followed}"}


def compare_each(entry: Reported, by_study: Iterable[Iterable[Result]]) -> list[dict[str, str]]:
    """Set ours beside a reported number, study by study; where none has such cells, give the reason alone."""
    compared = [compare(entry, results) for results in by_study]
    return [one for one in compared if one["ours"]] or [compare(entry, [])]


def may_compare(entry: Reported, study: str) -> bool:
    """Tell whether the study's numbers may stand beside a reported one: of the same form and training protocol."""
    return _same_form(entry) and _follows(entry, study)


def _same_form(entry: Reported) -> bool:
    """Tell whether we measure what was reported; a training's history has one form only."""
    if not entry.metric:
        return False
    if _of_history(entry.metric):
        return True
    return METRICS[entry.metric].form in (entry.form, "both")


def _is_of(entry: Reported, result: Result) -> bool:
    """Tell whether the result is of the cell, and of the training protocol, that the number was reported for."""
    return (result.cell.dataset, *result.row) == entry.place and _follows(entry, result.cell.study)


def _follows(entry: Reported, study: str) -> bool:
    """Tell whether the study follows the training protocol that the number belongs to, where it belongs to one."""
    return not entry.training or studies.load(study).protocol == entry.training


def _ours(metric: str, result: Result) -> float | None:
    """Find a result's value in the unit shown: of a metric, or of the history's row nearest to an iteration."""
    named = _of_history(metric)
    if not named:
        value = result.value(metric)
        return None if value is None else value * METRICS[metric].display_scale
    column, wanted = named["column"], int(named["iteration"])
    history = history_of(result, {"iteration", column}) if result.state == "done" else {}
    if column not in history:
        return None
    distances = np.abs(history["iteration"] - wanted)
    if not distances.size or distances.min() > NEAR * wanted:
        return None
    nearest = distances.argmin()
    return float(history[column][nearest])


def _beside(entry: Reported, ours: Summary, lost: int) -> dict[str, str]:
    """Spell ours, the difference, and where the reported number lies; nothing of it where runs were lost."""
    difference = ours.mean - entry.value
    interval, inside, why = "", "", "one seed gives no interval"
    if ours.t95 is not None:
        interval, why = f" ± {ours.t95:.3g}", ""
        place = "inside" if abs(difference) <= ours.t95 else "outside"
        inside = f"{place} our 95% interval"
    if lost:
        inside, why = "", f"{lost} of {ours.n + lost} diverged or undefined"
    shown = f"{ours.mean:.4g}{interval} (n = {ours.n})"
    return {"ours": shown, "difference": f"{difference:+.3g}", "inside": inside, "why": why}


# --- what is transcribed


Place = tuple[str, str, str, str, str]  # data set, objective, prior, regularizers, metric


def known_numbers(table: Table, entries: Iterable[Reported], study: str) -> dict[Place, Reported]:
    """Map dataset, objective, prior, regularizers and metric -> what was reported there in the papers' table.

    Of several numbers of one place, one that the study's may stand beside comes first.
    """
    known: dict[Place, Reported] = {}
    for entry in entries:
        place = (*entry.place, entry.metric)
        if entry.table == table.name and (place not in known or may_compare(entry, study)):
            known[place] = entry
    return known
