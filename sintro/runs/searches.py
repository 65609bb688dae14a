"""``sintro choose``: the hyper-parameters of a search study's best cells, and how each was chosen. Imports no torch.

The published way chooses on the very metric and seed that are reported, which is an audit item (A12). So that a reader
can judge a choice, the file keeps the number of candidates, the number of diverged ones, and the runner-up.
"""

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sintro import SintroError
from sintro.basics.files import write_json
from sintro.cells.cell import Cell
from sintro.cells.search_results import METRIC, SEED, file_of, key_of
from sintro.runs.results import STATES, Judged, judge
from sintro.runs.states import State, listed
from sintro.runs.stored import numbers


def choose(search: str, cells: Iterable[Cell]) -> Path:
    """Write, per data set, objective, prior and regularizers, the betas (and margin) with the lowest published KL.

    The candidates are cells with explicit betas, at seed 0; only numbers of the study's settings count. A line on
    stderr counts the candidates by state. Returns the file's path. Raises SintroError where none has finished.
    """
    candidates: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.betas is not None and cell.seed == SEED:
            candidates[key_of(cell)].append(cell)
    if not candidates:
        raise SintroError(f"study {search}: nothing to choose from: it has no cell with explicit betas at seed {SEED}")
    judged = {cell: judge(cell) for group in candidates.values() for cell in group}
    _say_states(judged)
    found = {key: _choose_one(group, judged) for key, group in candidates.items()}
    if all(result["cell"] is None for result in found.values()):
        total = sum(map(len, candidates.values()))
        raise SintroError(f"study {search}: nothing to choose from: none of its {total} candidates has finished")
    path = file_of(search)
    write_json(
        path,
        {
            "study": search,
            "rule": f"per data set, objective, prior and regularizers: lowest {METRIC} at seed {SEED}",
            "command": f"sintro choose {search}",
            "choices": found,  # the file's own word
        },
    )
    return path


def _say_states(judged: Mapping[Cell, Judged]) -> None:
    """Count the candidates by state on stderr where not all are done, and name the unreadable ones."""
    counts = Counter(found.state for found in judged.values())
    if counts["done"] == len(judged):
        return
    said = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    print(f"of {len(judged)} candidates {said}; the choice is among the {counts['done']} done", file=sys.stderr)
    states = {cell: State(found.state, found.reason) for cell, found in judged.items()}
    for line in listed(states, "unreadable"):
        print(line, file=sys.stderr)


def _choose_one(candidates: list[Cell], judged: Mapping[Cell, Judged]) -> dict[str, Any]:
    """Return the best of the candidates, the next best, and the counts."""
    values: list[tuple[float, str, Cell]] = []  # of equal values the first path wins
    missing = diverged = 0
    for cell in candidates:
        value = _value(cell, judged[cell])
        if value is None:
            missing += 1
        elif math.isfinite(value):
            values.append((value, cell.path, cell))
        else:
            diverged += 1
    best, runner_up, *_ = (*sorted(values, key=lambda found: found[:2]), None, None)
    return {
        "cell": best and best[2].path,
        "betas": best and best[2].betas._asdict(),
        "margin": best and best[2].margin,
        METRIC: best and best[0],
        "runner_up": runner_up and {"cell": runner_up[2].path, METRIC: runner_up[0]},
        "candidates": len(candidates),
        "finished": len(values),
        "diverged": diverged,
        "missing": missing,
    }


def _value(cell: Cell, found: Judged) -> float | None:
    """Return a cell's metric; NaN for a diverged cell, None where no value counts."""
    if found.state == "diverged":
        return math.nan
    return numbers(found.metrics).get(METRIC) if found.metrics else None
