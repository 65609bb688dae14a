"""Reading result folders: every cell a study asks for comes back, with what is known of it, never fewer.

A cell is in one of four states. ``done`` and ``diverged`` are results. ``missing`` is a cell without a result yet and
``unreadable`` one whose files do not hold what they should; both carry the reason, and the pages show it.
"""

import csv
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from sintro import SintroError, failures

STATES = ("done", "diverged", "missing", "unreadable")
FILES = ("cell.json", "history.csv", "metrics.json", "provenance.json", "arrays.npz")
SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


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
    notes: tuple[str, ...] = ()

    @property
    def row(self) -> tuple[str, str, str]:
        """What a table's row is about: objective, prior, regularizers."""
        return (self.cell.objective, self.cell.prior, self.cell.regularizers)

    @property
    def group(self) -> tuple[str, str, str, str, str]:
        """The cell without its seed: what a mean is taken over."""
        return (self.cell.study, self.cell.dataset, *self.row)

    def value(self, metric: str) -> float | None:
        """The metric's number, NaN when it was computed and is not finite, None when the cell does not have it."""
        return self.metrics.get(metric)


class Unreadable(Exception):
    """A file of a cell that does not hold what it should; the message says which and what is wrong."""


def number(value: Any) -> float | None:
    """A stored number: JSON has no NaN and no infinity, so they are kept as the strings nan, inf, -inf."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    return SPECIAL.get(value) if isinstance(value, str) else None


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Unreadable(f"{path.name} cannot be read: {error.strerror}") from None
    except ValueError:
        raise Unreadable(f"{path.name} is truncated or not JSON") from None
    except RecursionError:
        raise Unreadable(f"{path.name} is nested too deeply") from None
    if not isinstance(value, dict):
        raise Unreadable(f"{path.name} holds {type(value).__name__}, expected an object")
    return value


def _notes(cell: Any, record: Mapping, provenance: Mapping, digest: str | None) -> tuple[str, ...]:
    """What a reader should know before trusting a finished cell."""
    notes = []
    stored = record.get("cell")
    if isinstance(stored, Mapping) and stored.get("path") not in (None, cell.path):
        notes.append(f"cell.json is of another cell: {stored.get('path')}")
    if digest and record.get("digest") and record["digest"] != digest:
        notes.append("made with other hyper-parameters than the study now asks for")
    if provenance.get("digest") and record.get("digest") and provenance["digest"] != record["digest"]:
        notes.append("provenance.json and cell.json are of different hyper-parameters")
    return tuple(notes)


def read_cell(cell: Any, results: Path = Path("results"), digest: str | None = None) -> Result:
    """Read one cell's folder. Never raises for what the folder holds: that becomes the state and its reason.

    ``digest`` is that of the settings the study asks for now; a cell made with others gets a note.
    """
    folder = Path(results, *Path(cell.path).parts[1:])
    known: dict[str, Any] = {}
    try:
        for name in ("record", "provenance", "metrics"):
            known[name] = _read_mapping(folder / {"record": "cell.json"}.get(name, f"{name}.json"))
    except Unreadable as error:
        known.pop("metrics", None)
        return Result(cell, folder, "unreadable", str(error), **known)
    metrics, record, provenance = known["metrics"], known["record"], known["provenance"]
    notes = _notes(cell, record, provenance, digest)
    kept = {"record": record, "provenance": provenance, "notes": notes}
    status = metrics.get("status") or provenance.get("status")
    if status == "diverged":
        source = metrics if "reason" in metrics else provenance
        reason = f"at iteration {source.get('diverged_at', '?')}: {source.get('reason') or 'no reason given'}"
        return Result(cell, folder, "diverged", reason, **kept)
    if not metrics:
        reason = "not started"
        if provenance.get("status") == "done":
            reason = "trained, not evaluated"
        elif record:
            reason = "started, not finished"
        if failed := failures.read(folder):
            reason = f"failed: {failed.said}"
        return Result(cell, folder, "missing", reason, **kept)
    if status != "done":
        return Result(cell, folder, "unreadable", f"metrics.json has the unknown status {status!r}", **kept)
    numbers = {name: value for name, raw in metrics.items() if (value := number(raw)) is not None}
    extra = {name: raw for name, raw in metrics.items() if name not in numbers}
    if isinstance(extra.get("warning"), str):
        kept["notes"] = (*notes, extra["warning"])
    return Result(cell, folder, "done", metrics=numbers, extra=extra, **kept)


def read_cells(cells: Iterable[Any], results: Path = Path("results"), digests: Mapping[str, str] | None = None):
    """Every cell's result, in the cells' order -> list[Result]; as many as cells were asked for, each once."""
    cells = list(cells)
    repeated = [path for path, count in Counter(cell.path for cell in cells).items() if count > 1]
    if repeated:
        raise SintroError(f"a study names the cell {repeated[0]} more than once")
    found = [read_cell(cell, results, (digests or {}).get(cell.path)) for cell in cells]
    check_complete(found, [cell.path for cell in cells])
    return found


def check_complete(found: Iterable[Result], paths: Iterable[str]) -> None:
    """Raise SintroError unless ``found`` holds exactly the cells of ``paths``: a table must not lose one silently."""
    have, want = Counter(result.cell.path for result in found), Counter(paths)
    lost, extra = list((want - have).elements()), list((have - want).elements())
    if lost or extra:
        example = (lost or extra)[0]
        raise SintroError(
            f"expected {sum(want.values())} cells and got {sum(have.values())}: "
            f"{len(lost)} lost, {len(extra)} not asked for (such as {example})"
        )


def count_states(found: Iterable[Result]) -> dict[str, int]:
    """How many cells are in each state, zeros included."""
    counts = Counter(result.state for result in found)
    return {state: counts[state] for state in STATES}


def by_group(found: Iterable[Result]) -> dict[tuple, list[Result]]:
    """The results over seeds of each study, dataset, objective, prior, regularizers; every result is in one group."""
    groups: dict[tuple, list[Result]] = {}
    for result in found:
        groups.setdefault(result.group, []).append(result)
    return groups


def read_history(path: Path, columns: Iterable[str] | None = None, most_rows: int = 1000) -> dict[str, np.ndarray]:
    """``history.csv`` as columns of floats, NaN where empty; at most about ``most_rows`` rows, evenly thinned.

    Raises SintroError when the file has no header or a cell is not a number.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows, None)
        if not header or header[0] != "iteration":
            raise SintroError(f"{path}: not a history, its first column is not 'iteration'")
        body = list(rows)
    if len(body) > most_rows:
        kept = np.unique(np.linspace(0, len(body) - 1, most_rows).astype(int))
        body = [body[i] for i in kept]
    wanted = [name for name in header if columns is None or name in columns]
    places = [header.index(name) for name in wanted]
    try:
        table = [[float(row[i]) if row[i] else np.nan for i in places] for row in body]
    except (ValueError, IndexError):
        raise SintroError(f"{path}: a row is cut short or holds something that is not a number") from None
    values = np.array(table, dtype=np.float64).reshape(len(body), len(places))
    return {name: values[:, i] for i, name in enumerate(wanted)}


def read_arrays(path: Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of ``arrays.npz``, all or the named ones that are there. SintroError when it cannot be read."""
    try:
        # Opened here, since NumPy leaves a file open when it turns out to be cut short.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files if names is None or name in names}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile, zlib.error, NotImplementedError) as error:
        raise SintroError(f"{path}: cannot be read ({error}); evaluate the cell again") from None
