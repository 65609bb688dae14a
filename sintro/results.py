"""A cell's folder, read and judged in one place: which state the cell is in, why, and which step it needs next.

``status``, ``plan``, ``clean``, ``choose``, the pages and the Snakefile all ask here. Numbers count only if three
digests agree: that of the settings the study asks for now, provenance.json's and metrics.json's (docs/design.md,
invariant 2). A file that does not hold what it should becomes a state and a reason, never an exception. Imports no
torch.
"""

import json
import math
import os
import zlib
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self, TypeVar
from zipfile import BadZipFile

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from sintro import SintroError, failures, running, studies
from sintro.cells import Cell
from sintro.metrics import outdated
from sintro.presets import Settings
from sintro.runs import HANDED_OVER, PROVENANCE

if TYPE_CHECKING:
    import numpy as np

OTHER = "made with other settings"
STATES = ("done", "diverged", "running", "to evaluate", "missing", "failed", OTHER, "unreadable")
FINISHED = ("done", "diverged")  # results; a cell in any other state has none
METRICS = "metrics.json"
CHECKPOINT = "checkpoint.pt"
MODEL = "model.pt"
MEAN_RESPONSIBILITIES = "mean_responsibilities"  # in arrays.npz: a_k [T, K] after each snapshot
RESPONSIBILITY_ITERATIONS = "responsibility_iterations"  # in arrays.npz: how many iterations each came after, [T]
OLD_ARRAYS = {"shares": MEAN_RESPONSIBILITIES, "share_iterations": RESPONSIBILITY_ITERATIONS}  # older files' names

Step = Literal["train", "evaluate", "nothing"]


class Unreadable(SintroError):
    """A file of a cell does not hold what it should; the message names the file and says what is wrong."""


# --- the files

EXACT = 2**53  # a float holds every whole number up to it exactly
Count = Annotated[int, Field(ge=0, le=EXACT)]
Positive = Annotated[int, Field(ge=1, le=EXACT)]


class Stored(BaseModel):
    """A JSON file of a cell's folder. The fields are what the suite computes with; further keys are kept as they are.

    A key of a wrong type makes the file unreadable: half of a damaged file is not trusted. Absent keys are legal, since
    older versions wrote fewer.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, protected_namespaces=())
    file: ClassVar[str]

    def content(self) -> dict[str, Any]:
        """Everything that the file says."""
        return {name: getattr(self, name) for name in self.model_fields_set - set(self.extra())} | self.extra()

    def extra(self) -> dict[str, Any]:
        """The keys that are no fields."""
        return self.model_extra or {}


class CellFile(Stored):
    """``cell.json``: what was to be trained."""

    file = "cell.json"
    cell: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    digest: str | None = None
    command: str | None = None


class Outcome(Stored):
    """What provenance.json and metrics.json have in common."""

    status: Literal["done", "diverged"]
    digest: str | None = None  # of the settings
    finished: str | None = None  # when the training ended
    model_sha256: str | None = None
    diverged_at: Count | None = None
    reason: str | None = None

    @property
    def why_diverged(self) -> str:
        """`at iteration 12: the loss was not finite`, as far as the file says it."""
        at = "" if self.diverged_at is None else f"at iteration {self.diverged_at}: "
        return in_a_line(at + (self.reason or "no reason given"))


class Provenance(Outcome):
    """``provenance.json``: how a training ended, and with what it was made."""

    file = PROVENANCE
    iterations: Positive | None = None
    wall_seconds: FiniteFloat | None = Field(None, ge=0)
    fleet: Positive | None = None  # how many cells shared the wall time


class HandedOver(Provenance):
    """``provenance.fleet.json``: the same, of a cell that a fleet trained, until its own `sintro train` takes it."""

    file = HANDED_OVER


class Metrics(Outcome):
    """``metrics.json``: what an evaluation measured."""

    file = METRICS
    evaluated: str | None = None


Kind = TypeVar("Kind", bound=Stored)


def read(folder: str | Path, kind: type[Kind]) -> Kind | None:
    """Read and check one of a cell's files; None where it is not there.

    Raises Unreadable: which file, and what is wrong with it.
    """
    path = os.path.join(folder, kind.file)  # no Path: `status` reads ten thousand of them
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError):  # of a folder that cannot be, whoever writes to it tells
        return None
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror or error}") from None
    except RecursionError:
        raise Unreadable(f"{path} is nested too deeply") from None
    except ValueError:
        raise Unreadable(f"{path} is truncated or not JSON") from None
    if not isinstance(value, dict):
        raise Unreadable(f"{path} holds {type(value).__name__}, expected an object")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise Unreadable(f"{path}: {_first_problem(error)}") from None


def read_provenance(folder: str | Path) -> Provenance | None:
    """The cell's provenance, its own or what a fleet handed over; None where the cell is not trained to its end.

    Raises Unreadable.
    """
    return read(folder, Provenance) or read(folder, HandedOver)


def read_settings(folder: str | Path) -> Settings:
    """The settings that a cell was trained with, by its cell.json. Raises Unreadable."""
    record = read(folder, CellFile)
    if record is None:
        raise Unreadable(f"{Path(folder, CellFile.file)} is missing")
    try:
        return Settings.model_validate(record.settings)
    except ValidationError as error:
        raise Unreadable(f"{Path(folder, CellFile.file)}: settings.{_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    """`status: this key is missing`, of a file that pydantic refuses."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    said = "this key is missing" if first["type"] == "missing" else first["msg"][:1].lower() + first["msg"][1:]
    return f"{where}: {said}"


# --- arrays


def read_arrays(path: Path, names: Iterable[str] | None = None) -> dict[str, "np.ndarray"]:
    """Read the arrays of ``arrays.npz``, all or the named ones that are there, under the names they have today.

    Raises SintroError where the file cannot be read.
    """
    import numpy as np  # here: `status` reads many folders and no arrays

    try:
        # Opened here, since NumPy leaves a file open when it turns out to be cut short.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            kept = {name: OLD_ARRAYS.get(name, name) for name in stored.files}
            return {new: stored[name] for name, new in kept.items() if names is None or new in names}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile, zlib.error, NotImplementedError) as error:
        raise SintroError(f"{path}: cannot be read ({error}); evaluate the cell again") from None


# --- numbers

SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def number(value: Any) -> float | None:
    """A stored number: JSON has no NaN and no infinity, so they are kept as the strings nan, inf, -inf.

    None for everything else, also for a whole number that no float can hold.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return None
    return SPECIAL.get(value) if isinstance(value, str) else None


def numbers(metrics: Metrics) -> dict[str, float]:
    """The numbers of a metrics.json by name, without values that an older definition computed."""
    old = set(outdated(metrics.extra()))
    found = {name: number(value) for name, value in metrics.extra().items() if name not in old}
    return {name: value for name, value in found.items() if value is not None}


# --- the judge


class Asked(NamedTuple):
    """The digest of the settings that a study asks for now, or why nobody knows them."""

    digest: str | None
    why: str = ""

    @classmethod
    def of(cls, cell: Cell) -> Self:
        """What the cell's study asks for."""
        try:
            return cls(studies.settings(cell).digest)
        except SintroError as error:
            return cls(None, str(error))


class Judged(NamedTuple):
    """What a cell's folder is: one of STATES, the reason, and the step that comes next.

    ``provenance`` is there wherever it could be read, ``metrics`` only of a cell that is done or diverged. ``progress``
    is a running cell's progress.json.
    """

    state: str
    reason: str = ""
    step: Step = "train"
    provenance: Provenance | None = None
    metrics: Metrics | None = None
    progress: dict[str, Any] | None = None


def judge(
    cell: Cell, folder: str | Path | None = None, names: Collection[str] | None = None, asked: Asked | None = None
) -> Judged:
    """Judge a cell's folder. Never raises for what the folder holds.

    ``folder``: the cell's own below the working directory by default. ``names``: the names in it, where the caller has
    listed it. ``asked``: what the study asks for, where the caller knows it.
    """
    folder = Path(cell.path if folder is None else folder)
    if names is None:
        try:
            names = set(os.listdir(folder))
        except FileNotFoundError:
            if os.path.islink(folder):
                return Judged("unreadable", f"{folder} leads to {os.readlink(folder)} by a link, where nothing is")
            names = ()
        except OSError as error:
            return Judged("unreadable", f"{folder} cannot be read: {error.strerror or error}")
    if not names:
        return Judged("missing", "not started")
    found = _judge_files(cell, folder, names, asked)
    if running.NAME in names and (progress := running.beating(folder)):
        reason = f"on {in_a_line(progress['host'])}"
        return found._replace(state="running", reason=reason, metrics=None, progress=progress)
    if failures.NAME in names:
        return _with_failure(cell, folder, found, asked)
    return found


def needed(cell: Cell) -> Step:
    """The step that a cell needs next to have metrics that count: "train", "evaluate" or "nothing"."""
    return judge(cell).step


def is_trained(cell: Cell) -> bool:
    """Whether nothing of the cell is left to a fleet: it is trained, or a fleet did so and left the last step to it."""
    found = judge(cell)
    return found.step != "train" or (isinstance(found.provenance, HandedOver) and found.state != OTHER)


def _judge_files(cell: Cell, folder: Path, names: Collection[str], asked: Asked | None) -> Judged:
    """Judge by provenance.json and metrics.json, and by which other files there are."""
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
    if running.NAME in names:
        left = running.read(folder / running.NAME)
        if left:
            at = f"after {left['done']} of {left['total']} iterations"
            return Judged("failed", f"killed {at}; the same command goes on from its last checkpoint")
        if left is not None:
            return Judged("unreadable", f"{folder / running.NAME} does not say who trains the cell")
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
    foreign = damaged or why_foreign(metrics, provenance)
    step: Step = "train" if isinstance(provenance, HandedOver) else "evaluate" if foreign else "nothing"
    if provenance.status == "diverged":
        return Judged("diverged", provenance.why_diverged, step, provenance)
    if damaged:
        return Judged("unreadable", damaged, step if MODEL in names else "train", provenance)
    if foreign and MODEL not in names:
        return Judged("missing", f"{foreign}, and {MODEL} is gone: to be trained anew", "train", provenance)
    if foreign:
        return Judged("to evaluate", foreign, step, provenance)
    if metrics.status == "diverged":
        return Judged("diverged", metrics.why_diverged, step, provenance, metrics)
    return Judged("done", "", step, provenance, metrics)


def why_foreign(metrics: Metrics | None, provenance: Provenance) -> str:
    """Why metrics do not count for a training; empty where they do."""
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
    """The state "failed", where failure.json tells of the step that comes next; else what was found without it."""
    if found.step == "nothing" or found.state == "unreadable":
        return found
    failure = failures.read(folder)
    if failure is None:
        return found._replace(reason=f"{found.reason} ({folder / failures.NAME} cannot be read)")
    of_these_settings = failure.digest is None or failure.digest == (asked or Asked.of(cell)).digest
    outlived = found.provenance is not None and _earlier(failure.when, found.provenance.finished)
    if failure.step != found.step or not of_these_settings or outlived:
        return found
    return found._replace(state="failed", reason=in_a_line(failure.said))


def _earlier(one: str | None, other: str | None) -> bool:
    """Whether a time is before another; False where one of them is not known."""
    try:
        times = [datetime.fromisoformat(text) for text in (one or "", other or "")]
    except ValueError:
        return False
    known = [time if time.tzinfo else time.replace(tzinfo=UTC) for time in times]
    return known[0] < known[1]


def in_a_line(text: str) -> str:
    """Text that a file holds, as one line without control characters."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
