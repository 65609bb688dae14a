"""Reading result folders: every cell a study asks for comes back, with what is known of it, never fewer.

``sintro.runs.results`` judges the folder. ``done`` and ``diverged`` are results; a cell in any other state has no
numbers, and the pages show its state and the reason.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sintro import SintroError
from sintro.cells import components
from sintro.metrics import METRICS, NOT_MEASURED, absent, noise, outdated
from sintro.runs.history import todays
from sintro.runs.results import FINISHED, STATES, Asked, judge
from sintro.runs.stored import LARGEST, CellFile, Unreadable, in_a_line, number, numbers, read

NO_RESULT = tuple(state for state in STATES if state not in FINISHED)  # states of cells without one
EVALUATE_AGAIN = "evaluate again"  # in place of a number that an older definition computed, or no one yet
FILES = ("cell.json", "history.csv", "metrics.json", "provenance.json", "arrays.npz")


Group = tuple[str, str, str, str, str]  # study, data set, objective, prior, regularizers


@dataclass(frozen=True, eq=False)
class Result:
    """One cell and what its folder holds. ``metrics`` has numbers only; a NaN stays in it, as a NaN."""

    cell: Any
    folder: Path
    state: str
    reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)  # cell.json
    extra: Mapping[str, Any] = field(default_factory=dict)  # what metrics.json holds beside numbers
    outdated: tuple[str, ...] = ()  # metrics that an older definition computed: their values do not count
    absent: tuple[str, ...] = ()  # metrics that an evaluation of today would have measured
    notes: tuple[str, ...] = ()
    gone: str = ""  # which extension is missing, so that only what cell.json keeps is known of the cell
    archived: str = ""  # of an archived run: its archive, commit, machine and date

    @cached_property
    def kind(self) -> str:
        """The kind of the cell's data: ``2d`` or ``images``."""
        return components.dataset(self.cell.dataset).kind

    @cached_property
    def saw_labels(self) -> bool:
        """Whether the objective learns from the classes of images."""
        return components.objective(self.cell.objective_name).sees_labels

    @cached_property
    def row(self) -> tuple[str, str, str]:
        """What a table's row is about: objective, prior, regularizers."""
        return (self.cell.objective, self.cell.prior, self.cell.regularizers)

    @cached_property
    def group(self) -> Group:
        """The cell without its seed: what a mean is taken over."""
        return (self.cell.study, self.cell.dataset, *self.row)

    def value(self, metric: str) -> float | None:
        """Find the metric's number: NaN when it was computed and is not finite, None when the cell does not have it.

        Only a finished cell has numbers: one that diverged has none, whatever its folder holds.
        """
        return self.metrics.get(metric) if self.state == "done" else None

    def noise(self, metric: str) -> float | None:
        """Find the standard deviation of the metric's value over draws of the evaluation; None where none was measured.

        Of a value that does not count, the noise does not count either.
        """
        measured = self.extra.get(noise.NOISE)
        if not isinstance(measured, Mapping) or self.value(metric) is None:
            return None
        return number(measured.get(metric))

    def why_not(self, metric: str) -> str:
        """Say why a finished cell has no number of this metric; "" where nothing is known of it."""
        if metric in self.outdated or metric in self.absent:
            return EVALUATE_AGAIN
        reasons = self.extra.get(NOT_MEASURED)
        reason = reasons.get(metric) if isinstance(reasons, Mapping) else None
        return f"not measured: {in_a_line(str(reason))}" if reason else ""


def read_cell(cell: Any, results: Path = Path("results"), digest: str | None = None) -> Result:
    """Read one cell's folder. Never raises for what the folder holds: that becomes the state and its reason.

    ``digest`` is that of the settings the study asks for now; without it the study is asked.
    """
    folder = Path(results, *Path(cell.path).parts[1:])
    found = judge(cell, folder, asked=Asked(digest) if digest else None)
    notes, record = _read_record(cell, folder)
    kept = {"record": record, "provenance": found.provenance.content() if found.provenance else {}}
    if found.state != "done":
        return Result(cell, folder, found.state, found.reason, notes=notes, **kept)
    stored = found.metrics.content()
    counted = numbers(found.metrics)
    old = outdated(stored)
    extra = {name: value for name, value in stored.items() if name not in counted and name not in old}
    notes += _notes(stored, old)
    data = components.dataset(cell.dataset)
    new = absent(stored, data.kind, has_lpips=not data.why_no_lpips)
    return Result(cell, folder, "done", metrics=counted, extra=extra, outdated=old, absent=new, notes=notes, **kept)


def _read_record(cell: Any, folder: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Read cell.json -> the remarks on it, and what it holds. No number depends on it, so it decides no state."""
    try:
        record = read(folder, CellFile)
    except Unreadable as error:
        return (str(error),), {}
    if record is None:
        return (), {}
    path = record.cell.get("path")
    is_own = path in (None, cell.path)
    notes = () if is_own else (f"cell.json is of another cell: {path}",)
    return notes, record.content()


def _notes(stored: Mapping[str, Any], old: Iterable[str]) -> tuple[str, ...]:
    """Note what a reader should know before trusting a finished cell's metrics."""
    notes = []
    if isinstance(stored.get("warning"), str):
        notes.append(stored["warning"])
    if old:
        notes.append(f"evaluate again: an older definition computed {', '.join(old)}")
    given = [name for name in stored if name in METRICS and stored[name] is not None]
    wrong = [name for name in given if number(stored[name]) is None]
    if wrong:
        notes.append(f"not a number in metrics.json: {', '.join(wrong)}")
    return tuple(notes)


def read_cells(
    cells: Iterable[Any], results: Path = Path("results"), digests: Mapping[str, str] | None = None
) -> list[Result]:
    """Read every cell's result, in the cells' order: one for each cell that was asked for.

    ``digests`` are those of the settings that the study asks for now, by the cell's path. Raises SintroError for a cell
    that is asked for twice.
    """
    cells = list(cells)
    paths = [cell.path for cell in cells]
    repeated = [path for path, count in Counter(paths).items() if count > 1]
    if repeated:
        raise SintroError(f"a study names the cell {repeated[0]} more than once")
    known = digests or {}
    found = [read_cell(cell, results, known.get(cell.path)) for cell in cells]
    check_complete(found, paths)
    return found


def check_complete(found: Iterable[Result], paths: Iterable[str]) -> None:
    """Raise SintroError unless ``found`` holds exactly the cells of ``paths``: a table must not lose one silently."""
    have = Counter(result.cell.path for result in found)
    want = Counter(paths)
    lost = list((want - have).elements())
    extra = list((have - want).elements())
    if lost or extra:
        example = (lost or extra)[0]
        raise SintroError(
            f"expected {sum(want.values())} cells and got {sum(have.values())}: "
            f"{len(lost)} lost, {len(extra)} not asked for (such as {example})"
        )


def count_states(found: Iterable[Result]) -> dict[str, int]:
    """Count the cells in each state, zeros included."""
    counts = Counter(result.state for result in found)
    return {state: counts[state] for state in STATES}


def grouped(found: Iterable[Result], key: Callable[[Result], Any]) -> dict[Any, list[Result]]:
    """Group results by what ``key`` says of each, in the order in which they come. None is left out."""
    groups: dict[Any, list[Result]] = {}
    for result in found:
        groups.setdefault(key(result), []).append(result)
    return groups


def history_of(result: Result, columns: Iterable[str]) -> dict[str, np.ndarray]:
    """Read these columns of a cell's history; nothing comes back where there is none that can be read."""
    try:
        return read_history(result.folder / "history.csv", columns)
    except (OSError, SintroError):
        return {}


def read_history(path: Path, columns: Iterable[str] | None = None, most_rows: int = 1000) -> dict[str, np.ndarray]:
    """Read ``history.csv`` as columns of floats, NaN where empty; at most about ``most_rows`` rows, evenly thinned.

    Columns have the names of today, whatever an older version called them.

    Raises SintroError when the file is not text, has no header or a cell is not a number; OSError when it cannot be
    opened.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = todays(next(rows, []))
            body = list(rows)
    except (UnicodeDecodeError, csv.Error):
        raise SintroError(f"{path}: not a history, but other bytes than text") from None
    if not header or header[0] != "iteration":
        raise SintroError(f"{path}: not a history, its first column is not 'iteration'")
    if len(body) > most_rows:
        kept = np.unique(np.linspace(0, len(body) - 1, most_rows).astype(int))
        body = [body[i] for i in kept]
    wanted = [name for name in header if columns is None or name in columns]
    try:
        return {name: _column(body, header.index(name)) for name in wanted}
    except (ValueError, IndexError):
        raise SintroError(f"{path}: a row is cut short or holds something that is not a number") from None


def _column(rows: list[list[str]], place: int) -> np.ndarray:
    """Read one column of texts as floats [T], NaN where empty; what no metric reaches is infinite."""
    texts = [row[place] or "nan" for row in rows]
    values = np.array(texts, dtype=np.float64)
    return np.where(np.abs(values) > LARGEST, np.copysign(np.inf, values), values)
