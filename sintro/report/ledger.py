"""The ledger of reported numbers: what the papers and their repositories say, from ``workflow/reported.csv``.

Only numbers that somebody transcribed, with their source, are shown; every other place of the papers' tables says "not
transcribed". Ours stand beside a number only where the protocol is the same and the study is comparable.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sintro import SintroError, studies
from sintro.metrics import METRICS
from sintro.report.results import Result
from sintro.report.statistics import Summary, summarise
from sintro.report.tables import Table

COLUMNS = (
    "paper", "table", "row", "column", "value", "spread", "n", "protocol", "dataset", "objective", "prior",
    "regularizers", "metric", "source", "transcribed_by",
)  # fmt: skip
PROTOCOLS = ("published", "standard", "unknown")
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
    if row["metric"] and row["metric"] not in METRICS:
        raise SintroError(f"{where}: metric {row['metric']!r} is not one of {', '.join(METRICS)}")
    value = _number(row["value"], f"{where}: value")
    spread = _number(row["spread"], f"{where}: spread") if row["spread"] else None
    n = _number(row["n"], f"{where}: n") if row["n"] else None
    place = (row["dataset"], row["objective"], row["prior"], row["regularizers"])
    return Reported(row["paper"], row["table"], row["row"], row["column"], value, spread, None if n is None else int(n),
                    row["protocol"], place, row["metric"], row["source"], row["transcribed_by"])  # fmt: skip


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SintroError(f"{where} {text!r} is not a number")
    return value


def compare(entry: Reported, results: Iterable[Result]) -> dict[str, str]:
    """Ours beside a reported number -> ours, difference, whether the reported number lies in our 95% interval.

    Empty texts, with the reason, where there is nothing to compare: another protocol, no such cells, too few seeds.
    """
    form = METRICS[entry.metric].form if entry.metric else None
    if form is None or form not in (entry.protocol, "both"):
        return {"ours": "", "difference": "", "inside": "", "why": "the protocol is not the same, or not known"}
    scale = METRICS[entry.metric].display_scale
    values = [
        value * scale
        for r in results
        if (r.cell.dataset, *r.row) == entry.place
        and (value := r.value(entry.metric)) is not None
        and math.isfinite(value)
    ]
    ours = summarise(values)
    if not ours.n:
        return {"ours": "", "difference": "", "inside": "", "why": "no such finished cell in a comparable study"}
    return _beside(entry, ours)


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
