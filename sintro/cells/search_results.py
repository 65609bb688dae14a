"""Search results: the file of the hyper-parameters that a search study found best. Imports no torch.

``sintro.runs.searches`` writes the file. It is read here, since the settings of other studies depend on it.
"""

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

from sintro import SintroError
from sintro.cells.cell import RESULTS, Cell
from sintro.cells.components import Betas

METRIC = "kl_published"
SEED = 0


def file_of(search: str) -> Path:
    """Return the path to which `sintro choose` writes the results of a search study."""
    return Path(RESULTS, search, "chosen.json")


def key_of(cell: Cell) -> str:
    """Return the key of a search result: everything of a cell but the betas, the margin and the seed."""
    return "/".join((cell.dataset, cell.objective_name, cell.prior, cell.regularizers))


def best(search: str, cell: Cell) -> tuple[dict[str, float | None], str]:
    """Return the settings that a search study found best for a cell, by their names, and how they were found.

    Raises SintroError where the study has no result for the cell.
    """
    path = file_of(search)
    command = f"make it with `sintro choose {search}`, once that study has run"
    try:
        status = path.stat()
    except FileNotFoundError:
        raise SintroError(
            f"{cell.path}: its hyper-parameters are those of {path}, which is missing: {command}"
        ) from None
    result = _read(path, status.st_mtime_ns, status.st_size).get(key_of(cell))
    if result is None or result["betas"] is None:
        raise SintroError(f"{cell.path}: {path} has no search result for {key_of(cell)}: {command}")
    values = {f"beta_{name}": value for name, value in result["betas"].items()}
    if result.get("margin") is not None:
        values["margin"] = result["margin"]
    return values, f"{path}: lowest {METRIC} of {result['candidates']} candidates at seed {SEED}"


@lru_cache(maxsize=8)
def _read(path: Path, _mtime: int, _size: int) -> dict[str, Any]:
    """Read the results by their keys; the cache forgets a file that was changed."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))["choices"]
        if not all(map(_is_result, results.values())):
            raise ValueError("not the weights of a loss")
        return results
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SintroError(
            f"{path} is not a file of search results: remove it, then make it with `sintro choose`"
        ) from None


def _is_result(result: dict[str, Any]) -> bool:
    """Tell whether a search result has what is read of it. Its betas are None where no candidate has finished."""
    betas = result["betas"]
    if betas is None:
        return True
    values = [value for value in (*betas.values(), result.get("margin")) if value is not None]
    are_weights = all(type(value) in (int, float) and 0 < value < math.inf for value in values)
    return are_weights and set(betas) == set(Betas._fields) and type(result["candidates"]) is int
