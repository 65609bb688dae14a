"""Hyper-parameters that a search study chose: the file that says which. Nothing here imports torch.

``sintro.searches`` writes it; it is read here, since the settings of other studies depend on it.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from sintro import SintroError
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
