"""Hyper-parameters chosen by a search study: the file that says which, and how each was chosen.

Choosing on the metric and at the seed that are reported is the published way, and one of the audited choices (A12):
the file keeps the candidates' number, the diverged ones' and the runner-up, so that a reader can judge it.
Nothing here imports torch.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from sintro import SintroError, runs
from sintro.cells import RESULTS, Betas, Cell

METRIC = "kl_published"
SEED = 0


def choice_file(search: str) -> Path:
    """Where `sintro choose` puts what a search study found."""
    return Path(RESULTS, search, "chosen.json")


def choice_key(cell: Cell) -> str:
    """What a search chooses for: everything but the betas, the margin and the seed."""
    return "/".join((cell.dataset, cell.objective_name, cell.prior, cell.regularizers))


def chosen(search: str, cell: Cell) -> tuple[dict[str, float | None], str]:
    """What a search study chose for a cell's axes, by the settings' names, and how. Raises SintroError when nothing."""
    path = choice_file(search)
    command = f"make it with `sintro choose {search}`, once that study has run"
    try:
        status = path.stat()
    except FileNotFoundError:
        raise SintroError(
            f"{cell.path}: its hyper-parameters are those of {path}, which is missing: {command}"
        ) from None
    choice = _read_choices(path, status.st_mtime_ns, status.st_size).get(choice_key(cell))
    if choice is None or choice["betas"] is None:
        raise SintroError(f"{cell.path}: {path} has no choice for {choice_key(cell)}: {command}")
    values = {f"beta_{name}": value for name, value in choice["betas"].items()}
    if choice.get("margin") is not None:
        values["margin"] = choice["margin"]
    return values, f"{path}: lowest {METRIC} of {choice['candidates']} candidates at seed {SEED}"


@lru_cache(maxsize=8)
def _read_choices(path: Path, _mtime: int, _size: int) -> dict[str, Any]:
    """The file's choices; the cache forgets a file that was changed."""
    try:
        choices = json.loads(path.read_text(encoding="utf-8"))["choices"]
        _ = [Betas(**choice["betas"]) for choice in choices.values() if choice["betas"] is not None]
        return choices
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SintroError(f"{path} is not a file of choices: remove it, then make it with `sintro choose`") from None


def choose(search: str, cells: Iterable[Cell]) -> Path:
    """Write, per data set, objective, prior and regularizers, the betas (and margin) of the lowest published KL.

    Reads the candidates' metrics.json: cells with explicit betas, at seed 0. Raises SintroError when none has finished.
    """
    candidates: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.betas is not None and cell.seed == SEED:
            candidates[choice_key(cell)].append(cell)
    if not candidates:
        raise SintroError(f"study {search}: nothing to choose from: it has no cell with explicit betas at seed {SEED}")
    choices = {key: _choose_one(group) for key, group in candidates.items()}
    if all(choice["cell"] is None for choice in choices.values()):
        total = sum(map(len, candidates.values()))
        raise SintroError(f"study {search}: nothing to choose from: none of its {total} candidates has finished")
    path = choice_file(search)
    runs.write_json(
        path,
        {
            "study": search,
            "rule": f"per data set, objective, prior and regularizers: lowest {METRIC} at seed {SEED}",
            "command": f"sintro choose {search}",
            "choices": choices,
        },
    )
    return path


def _choose_one(candidates: list[Cell]) -> dict[str, Any]:
    """The best of some cells, the next best, and how many there were."""
    values: list[tuple[float, str, Cell]] = []  # the path decides between equal values
    missing = diverged = 0
    for cell in candidates:
        value = _value(cell)
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


def _value(cell: Cell) -> float | None:
    """A cell's metric; NaN for a diverged cell, None for one that has none yet."""
    path = Path(cell.path, "metrics.json")
    if not path.exists():
        return None
    metrics = runs.read_json(path)
    if metrics.get("status") == "diverged":
        return math.nan
    value = metrics.get(METRIC)
    return None if value is None else float(value)
