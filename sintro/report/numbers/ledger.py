"""The ledger of reported numbers: what the papers and their repositories say, from ``workflow/reported.csv``.

Only numbers that somebody transcribed, with their source, are shown; every other place of the papers' tables says "not
transcribed". Ours stand beside a number only where the metric has the same form, the study is comparable and, where the
number says whose training protocol it belongs to, the study follows that one.
"""

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sintro import SintroError, presets, studies
from sintro.history import HISTORY
from sintro.metrics import METRICS
from sintro.report.numbers.results import Result, read_history
from sintro.report.numbers.statistics import Summary, summarise
from sintro.report.numbers.tables import Table

COLUMNS = (
    "paper", "table", "row", "column", "value", "spread", "n", "protocol", "training", "dataset", "objective", "prior",
    "regularizers", "metric", "source", "transcribed_by",
)  # fmt: skip
PROTOCOLS = ("published", "standard", "unknown")  # of the measurement: which form of the metric
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
    protocol: str
    training: str  # whose protocol the models were trained by (`sintro.presets.PROTOCOLS`); empty: either
    place: tuple[str, str, str, str]  # dataset, objective, prior, regularizers
    metric: str
    source: str
    transcribed_by: str


def load(path: Path | None = None) -> list[Reported]:
    """The transcribed numbers; none when there is no file. SintroError names file, line, column and what is legal."""
    path = path or studies.folder().parent / "reported.csv"
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise SintroError(f"{path}: legal are exactly the columns {', '.join(COLUMNS)}")
        return [_entry(row, f"{path}, line {number}") for number, row in enumerate(rows, start=2)]


def _entry(row: Mapping[str, Any], where: str) -> Reported:
    if None in row or None in row.values():
        raise SintroError(f"{where}: {len(COLUMNS)} fields are legal")
    for name in ("paper", "source", "transcribed_by"):
        if not row[name].strip():
            raise SintroError(f"{where}: {name} is empty; a number without it is not shown")
    if row["protocol"] not in PROTOCOLS:
        raise SintroError(f"{where}: protocol {row['protocol']!r} is not one of {', '.join(PROTOCOLS)}")
    if row["training"] and row["training"] not in presets.PROTOCOLS:
        legal = ", ".join(presets.PROTOCOLS)
        raise SintroError(f"{where}: training {row['training']!r} is not one of {legal}, or empty for either")
    if row["metric"] and row["metric"] not in METRICS and not _of_history(row["metric"]):
        raise SintroError(
            f"{where}: metric {row['metric']!r} is not one of {', '.join(METRICS)}, nor history:COLUMN@ITERATION with "
            "a column of history.csv"
        )
    value = _number(row["value"], f"{where}: value")
    spread = _number(row["spread"], f"{where}: spread") if row["spread"] else None
    n = _number(row["n"], f"{where}: n") if row["n"] else None
    place = (row["dataset"], row["objective"], row["prior"], row["regularizers"])
    return Reported(row["paper"], row["table"], row["row"], row["column"], value, spread, None if n is None else int(n),
                    row["protocol"], row["training"], place, row["metric"], row["source"],
                    row["transcribed_by"])  # fmt: skip


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SintroError(f"{where} {text!r} is not a number")
    return value


def _of_history(metric: str) -> re.Match | None:
    """The column and iteration that `history:COLUMN@ITERATION` names; None where it is no such name."""
    named = HISTORY_METRIC.fullmatch(metric)
    return named if named and named["column"] in HISTORY else None


def compare(entry: Reported, results: Iterable[Result]) -> dict[str, str]:
    """Ours beside a reported number -> ours, difference, whether the reported number lies in our 95% interval.

    Empty texts, with the reason, where there is nothing to compare: another protocol, no such cells, too few seeds.
    """
    if not _same_form(entry):
        return {"ours": "", "difference": "", "inside": "", "why": "the protocol is not the same, or not known"}
    matching = [r for r in results if (r.cell.dataset, *r.row) == entry.place]
    if entry.training:
        matching = [r for r in matching if studies.load(r.cell.study).protocol == entry.training]
    values = [value for r in matching if (value := _ours(entry.metric, r)) is not None and math.isfinite(value)]
    ours = summarise(values)
    if not ours.n:
        followed = f" that follows protocol {entry.training}" if entry.training else ""
        why = f"no such finished cell in a comparable study{followed}"
        return {"ours": "", "difference": "", "inside": "", "why": why}
    return _beside(entry, ours)


def _same_form(entry: Reported) -> bool:
    """Whether we measure what was reported; a training's history has one form only."""
    if not entry.metric:
        return False
    return bool(_of_history(entry.metric)) or METRICS[entry.metric].form in (entry.protocol, "both")


def _ours(metric: str, result: Result) -> float | None:
    """A result's value in the unit shown: of a metric, or of the row of its history nearest to an iteration."""
    named = _of_history(metric)
    if not named:
        value = result.value(metric)
        return None if value is None else value * METRICS[metric].display_scale
    if result.state != "done":
        return None
    try:
        history = read_history(result.folder / "history.csv", {"iteration", named["column"]})
    except (OSError, SintroError, UnicodeDecodeError):
        return None
    wanted = int(named["iteration"])
    distances = np.abs(history["iteration"] - wanted)
    if not distances.size or distances.min() > NEAR * wanted:
        return None
    return float(history[named["column"]][distances.argmin()])


def _beside(entry: Reported, ours: Summary) -> dict[str, str]:
    """Ours, the difference, and where the reported number lies."""
    interval = "" if ours.t95 is None else f" ± {ours.t95:.3g}"
    shown = {"ours": f"{ours.mean:.4g}{interval} (n = {ours.n})", "difference": f"{ours.mean - entry.value:+.3g}"}
    if ours.t95 is None:
        return shown | {"inside": "", "why": "one seed gives no interval"}
    inside = abs(ours.mean - entry.value) <= ours.t95
    return shown | {"inside": "inside our 95% interval" if inside else "outside our 95% interval", "why": ""}


def places(table: Table) -> list[tuple[str, str, str, str, str]]:
    """Every number that the papers' table of this layout holds: dataset, objective, prior, regularizers, metric."""
    return [
        (dataset, *row, measure.published) for (row, dataset) in table.entries for measure in table.reported
    ]  # fmt: skip


def transcribed(table: Table, entries: Sequence[Reported]) -> tuple[int, int]:
    """How many numbers of the papers' table are transcribed, and how many there are."""
    known = {(*entry.place, entry.metric) for entry in entries if entry.table == table.name}
    wanted = places(table)
    return sum(place in known for place in wanted), len(wanted)
