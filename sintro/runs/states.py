"""The states of a study's cells, read from ``results/`` alone, on any node. Imports no torch.

Each folder is listed once, and only the files that matter are opened; ``sintro.runs.results`` is the judge.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sintro.cells.cell import PARTS, RESULTS, Cell
from sintro.runs.results import judge

LOGS = "logs"
MOST_LISTED = 20  # cells of one state that are named one by one


class State(NamedTuple):
    """A cell's state (one of STATES), a note on it, and progress.json where the cell runs."""

    name: str
    note: str = ""
    progress: dict[str, Any] | None = None


def of_cells(cells: Iterable[Cell]) -> dict[Cell, State]:
    """Return the state of every cell, in the order given."""
    given = list(cells)
    folders: dict[str, set[str]] = {}
    for study in dict.fromkeys(cell.study for cell in given):
        _list(f"{RESULTS}/{study}", len(PARTS) - 1, folders)
    return {cell: _state(cell, folders.get(cell.path)) for cell in given}


def listed(
    states: Mapping[Cell, State], name: str, note: Callable[[Cell, State], str] = lambda _, state: state.note
) -> list[str]:
    """Return a line with its note for each cell in the state ``name``, up to ``MOST_LISTED``; then a count."""
    chosen = [(cell, state) for cell, state in states.items() if state.name == name]
    lines = [f"{name}: {cell.path}: {note(cell, state)}" for cell, state in chosen[:MOST_LISTED]]
    return lines + ([f"{name}: and {len(chosen) - MOST_LISTED} more"] if len(chosen) > MOST_LISTED else [])


def _list(name: str, depth: int, into: dict[str, set[str]]) -> None:
    """Collect the names in every folder ``depth`` levels below the folder ``name``, listing each folder once."""
    with contextlib.suppress(OSError), os.scandir(name) as entries:
        if depth == 0:
            into[name] = {entry.name for entry in entries}
            return
        for entry in entries:
            if entry.is_dir():
                _list(f"{name}/{entry.name}", depth - 1, into)


def _state(cell: Cell, names: set[str] | None) -> State:
    found = judge(cell, Path(cell.path), names)
    return State(found.state, found.reason, found.progress)
