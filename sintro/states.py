"""What every cell of a study is doing, read from the folders of ``results/`` and ``logs/`` alone, on any node.

Each folder is listed once; a file is opened only for a cell that is running, diverged, or stopped with something to
say. Imports no torch.
"""

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from sintro import failures, running
from sintro.cells import PARTS, RESULTS, Cell
from sintro.runs import HANDED_OVER, PROVENANCE, read_json

LOGS = "logs"
TAIL = 4096  # bytes of a log that are looked at
STATES = ("done", "running", "evaluating", "waiting", "diverged", "failed")
HARMLESS = re.compile(r"stopped by SIG|resuming |waiting up to|: \d+/\d+, |is done already|is gone, its training")


class State(NamedTuple):
    """What a cell is doing: one of STATES, what there is to say about it, and a running one's progress.json."""

    name: str
    note: str = ""
    progress: dict[str, Any] | None = None


def of_cells(cells: Iterable[Cell], root: str | Path = ".") -> dict[Cell, State]:
    """The state of every cell, in the order given."""
    root, given = Path(root), list(cells)
    folders: dict[str, set[str]] = {}
    logs: dict[str, set[str]] = {}
    for study in dict.fromkeys(cell.study for cell in given):
        _list(root / RESULTS / study, f"{RESULTS}/{study}", len(PARTS) - 1, folders)
        _list(root / LOGS / study, f"{RESULTS}/{study}", len(PARTS) - 1, logs)
    nothing: set[str] = set()
    return {
        cell: _state(root, cell.path, folders.get(cell.path, nothing), logs.get(cell.path, nothing)) for cell in given
    }


def _list(folder: Path, name: str, depth: int, into: dict[str, set[str]]) -> None:
    """The names in every folder that is `depth` levels down, each folder listed once."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        if depth == 0:
            into[name] = {entry.name for entry in entries}
            return
        for entry in entries:
            if entry.is_dir():
                _list(Path(entry.path), f"{name}/{entry.name}", depth - 1, into)


def _state(root: Path, path: str, files: set[str], logs: set[str]) -> State:
    folder = root / path
    if running.NAME in files and (progress := running.beating(folder)):
        return State("running", progress=progress)
    if {"metrics.json", "provenance.json"} <= files:
        return State("done") if "model.pt" in files else _diverged(folder)
    if failures.NAME in files and (failed := failures.read(folder)):
        return State("failed", failed.said)
    step = "evaluate" if files & {PROVENANCE, HANDED_OVER} else "train"
    said = _last_line(root / LOGS / path.removeprefix(f"{RESULTS}/") / f"{step}.log") if f"{step}.log" in logs else ""
    if said and not HARMLESS.search(said):
        return State("failed", said)
    if step == "evaluate":
        return State("evaluating", "trained, to be evaluated")
    if running.NAME in files:
        left = running.read(folder / running.NAME) or {}
        at = f" after {left['done']} of {left['total']} iterations" if left else ""
        return State("failed", f"killed{at}; the same command goes on from its last checkpoint")
    return State("waiting", "goes on from its checkpoint" if "checkpoint.pt" in files else "")


def _diverged(folder: Path) -> State:
    try:
        return State("diverged", str(read_json(folder / "provenance.json").get("reason", "")))
    except Exception:  # whatever stands there, the folder is without a model
        return State("failed", f"{folder / 'provenance.json'} cannot be read")


def _last_line(path: Path) -> str:
    """The last line of a log that is not empty; the last message, where a progress bar wrote over itself."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
        lines = re.split(r"[\r\n]+", file.read().decode(errors="replace").strip())
        return lines[-1].strip()
    return ""
