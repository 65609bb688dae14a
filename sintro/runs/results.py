"""The one judge of a cell's folder: the cell's state, the reason, and the step that comes next.

``status``, ``plan``, ``clean``, ``choose``, ``train``, the pages and the Snakefile all ask here. Numbers count only if
three digests agree: of the settings that the study asks for now, of provenance.json and of metrics.json
(docs/design.md, invariant 2). A damaged file becomes a state and a reason, never an exception. Imports no torch.
:mod:`sintro.runs.stored` reads the files.
"""

import os
from collections.abc import Collection
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from sintro import SintroError
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.runs import failures, lock
from sintro.runs.folder import HANDED_OVER, PROVENANCE, broken_link
from sintro.runs.stored import (
    CHECKPOINT,
    METRICS,
    MODEL,
    CellFile,
    HandedOver,
    Metrics,
    Provenance,
    Unreadable,
    in_a_line,
    read,
    read_provenance,
)

OTHER = "made with other settings"
STATES = ("done", "diverged", "running", "to evaluate", "missing", "failed", OTHER, "unreadable")
FINISHED = ("done", "diverged")  # the states of cells that have results
Step = Literal["train", "evaluate", "nothing"]


class Asked(NamedTuple):
    """The digest of the settings that a study asks for now, or the reason why they are not known."""

    digest: str | None
    why: str = ""

    @classmethod
    def of(cls, cell: Cell) -> Self:
        """Return the digest that the cell's study asks for."""
        try:
            return cls(studies.settings(cell).digest)
        except SintroError as error:
            return cls(None, str(error))


class Judged(NamedTuple):
    """A cell's state (one of STATES), the reason, and the step that comes next.

    ``provenance`` is there wherever it could be read, ``metrics`` only of a cell that is done or diverged. ``progress``
    is a running cell's progress.json. ``trained``: whether the training ended with the settings that the study asks
    for, and need not be repeated. After a fleet, ``step`` is "train" all the same: `sintro train` takes its result.
    """

    state: str
    reason: str = ""
    step: Step = "train"
    provenance: Provenance | None = None
    metrics: Metrics | None = None
    progress: dict[str, Any] | None = None
    trained: bool = False


def judge(
    cell: Cell, folder: str | Path | None = None, names: Collection[str] | None = None, asked: Asked | None = None
) -> Judged:
    """Judge a cell's folder. Never raises for what the folder holds.

    ``folder``: the cell's own below the working directory by default. ``names``: the names of its files, where the
    caller has listed them. ``asked``: the digest that the study asks for, where the caller knows it.
    """
    folder = Path(cell.path if folder is None else folder)
    if names is None:
        try:
            names = set(os.listdir(folder))
        except FileNotFoundError:
            links = map(broken_link, (folder, *folder.parents))
            if link := next(filter(None, links), ""):
                return Judged("unreadable", link)
            names = ()
        except OSError as error:
            return Judged("unreadable", f"{folder} cannot be read: {error.strerror or error}")
    if not names:
        return Judged("missing", "not started")
    found = _judge_files(cell, folder, names, asked)
    if lock.NAME in names and (progress := lock.beating(folder)):
        reason = f"on {in_a_line(progress['host'])}"
        return found._replace(state="running", reason=reason, metrics=None, progress=progress)
    if failures.NAME in names:
        return _with_failure(cell, folder, found, asked)
    return found


def needed(cell: Cell) -> Step:
    """Return the step that brings a cell nearer to metrics that count: "train", "evaluate" or "nothing"."""
    return judge(cell).step


def is_trained(cell: Cell) -> bool:
    """Whether a fleet has nothing to do for the cell: it is trained, perhaps by a fleet that has handed it over."""
    return judge(cell).trained


def _judge_files(cell: Cell, folder: Path, names: Collection[str], asked: Asked | None) -> Judged:
    """Judge by provenance.json, metrics.json and the names of the other files."""
    try:
        provenance = read_provenance(folder) if {PROVENANCE, HANDED_OVER} & set(names) else None
    except Unreadable as error:
        return Judged("unreadable", f"{error}; to train anew: sintro train {cell.path} --restart")
    if provenance is None:
        return _untrained(folder, names)
    asked = asked or Asked.of(cell)
    if provenance.digest is None or provenance.digest != asked.digest:
        return Judged(OTHER, _other_settings(provenance, asked), "train", provenance)
    return _trained(cell, folder, names, provenance)


def _untrained(folder: Path, names: Collection[str]) -> Judged:
    if lock.NAME in names:
        left = lock.read(folder / lock.NAME)
        if left:
            at = f"after {left['done']} of {left['total']} iterations"
            return Judged("failed", f"killed {at}; the same command goes on from its last checkpoint")
        if left is not None:
            return Judged("unreadable", f"{folder / lock.NAME} does not say who trains the cell")
    if CHECKPOINT in names:
        return Judged("missing", "goes on from its checkpoint")
    return Judged("missing", "started, not finished" if CellFile.file in names else "not started")


def _other_settings(provenance: Provenance, asked: Asked) -> str:
    if asked.digest is None:
        return f"the settings that the study asks for are not known: {asked.why}"
    return (
        f"trained with the settings {in_a_line(provenance.digest or 'of no digest')}, the study asks for {asked.digest}"
    )


def _trained(cell: Cell, folder: Path, names: Collection[str], provenance: Provenance) -> Judged:
    """Judge a cell that is trained with the settings its study asks for."""
    damaged, metrics = "", None
    if METRICS in names:
        try:
            metrics = read(folder, Metrics)
        except Unreadable as error:
            damaged = f"{error}; to measure it again: sintro evaluate {cell.path}"
    foreign = damaged or _why_foreign(metrics, provenance)
    lost = bool(foreign) and MODEL not in names and provenance.status != "diverged"
    step: Step = "train" if lost or isinstance(provenance, HandedOver) else "evaluate" if foreign else "nothing"
    judged = partial(Judged, step=step, provenance=provenance, trained=not lost)
    if provenance.status == "diverged":
        return judged("diverged", provenance.why_diverged)
    if damaged:
        return judged("unreadable", damaged)
    if lost:
        return judged("missing", f"{foreign}, and {MODEL} is gone: to be trained anew")
    if foreign:
        return judged("to evaluate", foreign)
    if metrics.status == "diverged":
        return judged("diverged", metrics.why_diverged, metrics=metrics)
    return judged("done", metrics=metrics)


def _why_foreign(metrics: Metrics | None, provenance: Provenance) -> str:
    """Say why metrics do not count for a training; "" where they do."""
    if metrics is None:
        return "trained, not evaluated"
    if metrics.digest is None:
        return f"{METRICS} does not say of which settings it is"
    if metrics.digest != provenance.digest:
        return f"{METRICS} is of other settings than {PROVENANCE}"
    both_say_when = metrics.finished is not None and provenance.finished is not None
    if both_say_when and metrics.finished != provenance.finished:
        return f"{METRICS} is of another training, which finished {in_a_line(metrics.finished)}"
    both_say_what = metrics.model_sha256 is not None and provenance.model_sha256 is not None
    if both_say_what and metrics.model_sha256 != provenance.model_sha256:
        return f"{METRICS} is of another {MODEL}"
    return ""


def _with_failure(cell: Cell, folder: Path, found: Judged, asked: Asked | None) -> Judged:
    """Judge a cell with a failure.json: "failed" where it speaks of the step that comes next, else as ``found``.

    A step that a signal stopped has not failed: it goes on from its checkpoint.
    """
    if found.step == "nothing" or found.state == "unreadable":
        return found
    failure = failures.read(folder)
    if failure is None:
        return found._replace(reason=f"{found.reason} ({folder / failures.NAME} cannot be read)")
    of_these_settings = failure.digest is None or failure.digest == (asked or Asked.of(cell)).digest
    outlived = found.provenance is not None and _earlier(failure.when, found.provenance.finished)
    if failure.step != found.step or not of_these_settings or outlived:
        return found
    if failure.was_stopped:
        return found._replace(reason=in_a_line(failure.message))
    return found._replace(state="failed", reason=in_a_line(failure.said))


def _earlier(one: str | None, other: str | None) -> bool:
    """Whether one time is before the other; False where one of the two is not known."""
    try:
        times = [datetime.fromisoformat(text) for text in (one or "", other or "")]
    except ValueError:
        return False
    known = [time if time.tzinfo else time.replace(tzinfo=UTC) for time in times]
    return known[0] < known[1]
