"""Read and check the files of a cell's folder, under the names of today. Imports no torch.

``sintro.runs.results`` judges the folder by them.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from sintro import SintroError
from sintro.basics.files import DAMAGED_ZIP
from sintro.cells.cell import Cell
from sintro.cells.settings import Settings
from sintro.metrics import outdated
from sintro.runs.folder import HANDED_OVER, PROVENANCE

if TYPE_CHECKING:
    import numpy as np

METRICS = "metrics.json"
CHECKPOINT = "checkpoint.pt"
ASIDE = "checkpoint.other-settings.pt"  # the checkpoint of a run with other settings
BETWEEN = "checkpoint.between.pt"  # while two checkpoints change places
MODEL = "model.pt"
MEAN_RESPONSIBILITIES = "mean_responsibilities"  # in arrays.npz: a_k [T, K] after each snapshot
RESPONSIBILITY_ITERATIONS = "responsibility_iterations"  # in arrays.npz: how many iterations each came after, [T]
OLD_ARRAYS = {"shares": MEAN_RESPONSIBILITIES, "share_iterations": RESPONSIBILITY_ITERATIONS}  # older files' names


class Unreadable(SintroError):
    """A file of a cell is damaged; the message names the file and the fault."""


EXACT = 2**53  # a float holds every whole number up to it exactly
Count = Annotated[int, Field(ge=0, le=EXACT)]
Positive = Annotated[int, Field(ge=1, le=EXACT)]


class Stored(BaseModel):
    """A JSON file of a cell's folder. The suite computes with the fields; further keys are kept as they are.

    One key of a wrong type makes the whole file unreadable, since a file damaged in one place may be so in others.
    Absent keys are legal: older versions wrote fewer.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, protected_namespaces=())
    file: ClassVar[str]

    def content(self) -> dict[str, Any]:
        """Return all keys and values of the file."""
        return {name: getattr(self, name) for name in self.model_fields_set - set(self.extra())} | self.extra()

    def extra(self) -> dict[str, Any]:
        """Return the keys that are no fields."""
        return self.model_extra or {}


class CellFile(Stored):
    """``cell.json``: the cell and its settings, written before the first step."""

    file = "cell.json"
    cell: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    digest: str | None = None
    command: str | None = None


def cell_content(cell: Cell, settings: Settings, sources: Mapping[str, str]) -> dict[str, Any]:
    """Return the part of cell.json that does not depend on the command that trains the cell."""
    return {
        "cell": cell.model_dump() | {"path": cell.path},
        "settings": settings.model_dump(mode="json"),
        "digest": settings.digest,
        "sources": sources,
    }


class Outcome(Stored):
    """The keys that provenance.json and metrics.json share."""

    status: Literal["done", "diverged"]
    digest: str | None = None  # of the settings
    finished: str | None = None  # when the training ended
    model_sha256: str | None = None
    diverged_at: Count | None = None
    reason: str | None = None

    @property
    def why_diverged(self) -> str:
        """Return a line such as `at iteration 12: the loss was not finite`, as far as the file says it."""
        at = "" if self.diverged_at is None else f"at iteration {self.diverged_at}: "
        return in_a_line(at + (self.reason or "no reason given"))


class Provenance(Outcome):
    """``provenance.json``: how a training ended, and its code, versions and hardware."""

    file = PROVENANCE
    iterations: Positive | None = None
    wall_seconds: FiniteFloat | None = Field(None, ge=0)
    device: str | None = None  # cpu, cuda or cuda:N
    fleet: Positive | None = None  # how many cells shared the wall time


class HandedOver(Provenance):
    """``provenance.fleet.json``: a fleet's provenance of a cell, until the cell's own `sintro train` renames it."""

    file = HANDED_OVER


class Metrics(Outcome):
    """``metrics.json``: the numbers of an evaluation."""

    file = METRICS
    evaluated: str | None = None
    evaluation_seconds: FiniteFloat | None = Field(None, ge=0)  # on the clock


Kind = TypeVar("Kind", bound=Stored)


def read(folder: str | Path, kind: type[Kind]) -> Kind | None:
    """Read and check one of a cell's files; None where it is not there.

    Raises Unreadable, which names the file and the fault.
    """
    path = os.path.join(folder, kind.file)  # no Path: `status` reads ten thousand of them
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError):  # a folder that cannot be there is reported when it is written to
        return None
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror or error}") from error
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
    """Read the cell's provenance, its own or a fleet's; None where the cell is not trained to its end.

    Raises Unreadable.
    """
    return read(folder, Provenance) or read(folder, HandedOver)


def read_settings(folder: str | Path) -> Settings:
    """Read from cell.json the settings that a cell was trained with. Raises Unreadable."""
    record = read(folder, CellFile)
    if record is None:
        raise Unreadable(f"{Path(folder, CellFile.file)} is missing; train it anew: sintro train {folder} --restart")
    try:
        return Settings.model_validate(record.settings)
    except ValidationError as error:
        raise Unreadable(f"{Path(folder, CellFile.file)}: settings.{_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    """Return the first fault that pydantic found, such as `status: this key is missing`."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    said = "this key is missing" if first["type"] == "missing" else first["msg"][:1].lower() + first["msg"][1:]
    return f"{where}: {said}"


# --- arrays


def read_arrays(path: Path, names: Iterable[str] | None = None) -> dict[str, "np.ndarray"]:
    """Read the arrays of ``arrays.npz``, all or the named ones that are there, under the names they have today.

    Raises SintroError where the file cannot be read.
    """
    import numpy as np  # here, since `status` reads many folders and no arrays

    try:
        # Opened here, since NumPy leaves a file open when it turns out to be cut short.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            kept = {name: OLD_ARRAYS.get(name, name) for name in stored.files}
            return {new: stored[name] for name, new in kept.items() if names is None or new in names}
    except (OSError, KeyError, *DAMAGED_ZIP) as error:
        raise SintroError(f"{path}: cannot be read ({error}); evaluate the cell again") from error


# --- numbers

LARGEST = 1e100  # of any number; squares and sums of larger ones are no floats
SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def number(value: Any) -> float | None:
    """Return a stored number as a float; the strings nan, inf and -inf stand for what JSON cannot write.

    None for everything else, and for a whole number that no float can hold. One beyond :data:`LARGEST` is infinite.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            found = float(value)
        except OverflowError:
            return None
        return math.copysign(math.inf, found) if abs(found) > LARGEST else found
    return SPECIAL.get(value) if isinstance(value, str) else None


def numbers(metrics: Metrics) -> dict[str, float]:
    """Return the numbers of a metrics.json by name, without values that an older definition computed."""
    old = set(outdated(metrics.extra()))
    found = {name: number(value) for name, value in metrics.extra().items() if name not in old}
    return {name: value for name, value in found.items() if value is not None}


def in_a_line(text: str) -> str:
    """Return a file's text as one line without control characters."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
