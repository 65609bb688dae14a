"""``failure.json``: the fact that a step of a cell failed, written down in the cell's folder. Imports no torch.

It is written when a step ends with an error, and removed when the same step succeeds or begins anew. The state "failed"
comes from this file, never from the wording of a log.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sintro.runs import now, this_host, write_json

NAME = "failure.json"


class Failure(BaseModel):
    """Why a step of a cell failed.

    ``deterministic``: the same command would fail in the same way, so that trying again is of no use.
    ``digest``: of the settings that the step was run with, where they were known. ``log``: the file that says more.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: Literal["train", "evaluate"]
    message: str
    exit_code: int | None = None
    deterministic: bool = False
    digest: str | None = None
    host: str | None = None
    slurm_job: str | None = None
    log: str | None = None
    when: str | None = None


def write(folder: Path, step: str, message: str, **facts: Any) -> Failure:
    """Write down that a step failed. ``facts`` are further fields of :class:`Failure`.

    Raises SintroError where the folder cannot be written to.
    """
    failure = Failure(step=step, message=message, host=this_host(), when=now(), **facts)
    write_json(folder / NAME, failure.model_dump(exclude_none=True))
    return failure


def clear(folder: Path, step: str | None = None) -> None:
    """Remove the record of a failure; with ``step``, only one of that step."""
    found = read(folder)
    if found is not None and step in (None, found.step):
        (folder / NAME).unlink(missing_ok=True)


def read(folder: Path) -> Failure | None:
    """The failure written down in a folder; None where there is none or its file is not whole."""
    try:
        found: Mapping[str, Any] = json.loads((folder / NAME).read_bytes())
        return Failure.model_validate(found)
    except (OSError, ValueError, RecursionError, ValidationError):
        return None
