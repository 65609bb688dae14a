"""``failure.json``: says in a cell's folder that a step of the cell failed, and why. Imports no torch.

A step writes it when it ends with an error, or when a signal stops it before its end. It goes when the same step
succeeds or begins anew. The state "failed" comes from this file, never from the wording of a log.

Snakemake tries a failed job again whatever the cause. A cause that cannot go away must not cost the same hours again:
where a step failed for such a cause in this run of the workflow, the next try is refused at once. A command that
a person types always tries.
"""

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from sintro import PassingError, SintroError
from sintro.basics.files import write_json
from sintro.cells import components
from sintro.runs.folder import now, this_host
from sintro.runs.lock import BusyError

NAME = "failure.json"
INTERRUPTED = 75  # the exit code that asks for another try (sysexits: EX_TEMPFAIL)
RUN = "SINTRO_RUN"  # the environment variable in which one run of the workflow names itself to its jobs
Step = Literal["train", "evaluate"]

# Errors of the operating system that the same command meets again: a missing, unfit or forbidden path.
# The others (a full disk, a quota, a network file system) may be gone at the next try.
STAYING = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}
OF_A_DEVICE = re.compile("out of memory|CUDA|cuDNN|cuBLAS|NCCL|can't allocate memory", re.IGNORECASE)


class Failure(BaseModel):
    """Why a step of a cell failed.

    ``deterministic``: whether the same command would fail in the same way. ``digest``: of the settings that the step
    ran with, where they were known. ``log``: the file that says more. ``run``: the workflow's run that the step was
    part of.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: Step
    message: str
    exit_code: int | None = None
    deterministic: bool = False
    digest: str | None = None
    host: str | None = None
    slurm_job: str | None = None
    log: str | None = None
    run: str | None = None
    when: str | None = None

    @property
    def was_stopped(self) -> bool:
        """Whether a signal stopped the step, which goes on from its checkpoint at the next try: no failure."""
        return self.exit_code == INTERRUPTED

    @property
    def said(self) -> str:
        """Return the step, the cause and the log in a line."""
        log = f" (log: {self.log})" if self.log else ""
        return f"{self.step}: {self.message}{log}"


def write(folder: Path, step: Step, message: str, **facts: Any) -> Failure:
    """Write down that a step failed. ``facts`` are further fields of :class:`Failure`.

    Raises SintroError where the folder cannot be written to.
    """
    known = {"host": this_host(), "run": os.environ.get(RUN), "when": now()}
    failure = Failure(step=step, message=" ".join(message.split()), **(known | facts))
    write_json(folder / NAME, failure.model_dump(exclude_none=True))
    return failure


def write_stop(folders: Mapping[Path, str | None], signal: str | None, restarted: bool = False) -> None:
    """Write down in these cells' folders (folder -> digest of the settings) that a signal stopped their training.

    ``restarted``: the command threw earlier results away, and would do so again.
    """
    message = f"stopped by {signal}; {'sintro train without --restart' if restarted else 'the same command'} goes on"
    for folder, digest in folders.items():
        with contextlib.suppress(SintroError):  # the line on stderr is enough where the folder is not writable
            write(folder, "train", message, exit_code=INTERRUPTED, digest=digest, **_origin())


def clear(folder: Path, step: Step | None = None) -> None:
    """Remove the record of a failure; with ``step``, only one of that step."""
    found = read(folder)
    if found is not None and step in (None, found.step):
        (folder / NAME).unlink(missing_ok=True)


def read(folder: Path) -> Failure | None:
    """Read the failure in a folder; None where there is none or its file is not whole."""
    try:
        found: Mapping[str, Any] = json.loads((folder / NAME).read_bytes())
        return Failure.model_validate(found)
    except (OSError, ValueError, RecursionError, ValidationError):
        return None


@contextlib.contextmanager
def recording(step: Step, digests: Mapping[Path, str | None]) -> Iterator[None]:
    """Write an error of the block down in these cells' folders, and raise it again.

    ``digests``: folder -> digest of the settings. Of nested blocks the innermost writes, since it knows best which cell
    the error belongs to. BusyError is no failure of the cell. A folder that does not exist is made in a workflow only:
    a person who mistypes a path sees the error and gets no folder.
    """
    try:
        yield
    except BusyError:
        raise
    except Exception as error:
        if not getattr(error, "written_down", False):
            error.written_down = True  # type: ignore[attr-defined]
            for folder, digest in digests.items():
                if RUN in os.environ or folder.is_dir():
                    with contextlib.suppress(SintroError):  # the error itself is raised all the same
                        write(folder, step, in_words(error), digest=digest, **_facts(error))
        raise


def refuse_repeated(step: Step, folders: Iterable[Path]) -> None:
    """Raise the failure that this run of the workflow wrote down for the step, where its cause cannot go away."""
    run = os.environ.get(RUN)
    for folder in folders if run else ():
        found = read(folder)
        if found is not None and (found.run, found.step, found.deterministic) == (run, step, True):
            raise SintroError(found.message)


def in_words(error: BaseException) -> str:
    """Return an error in a line."""
    if isinstance(error, SintroError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    if isinstance(error, MemoryError):
        return f"out of memory: {error}".rstrip(": ")
    return components.fault(error) or f"{type(error).__name__}: {error}".rstrip(": ").splitlines()[0]


def is_deterministic(error: BaseException) -> bool:
    """Whether the same command would meet this error again."""
    if isinstance(error, PassingError | MemoryError):
        return False
    if isinstance(error, OSError):
        return error.errno in STAYING
    if isinstance(error, SintroError):
        return error.__cause__ is None or is_deterministic(error.__cause__)
    return not OF_A_DEVICE.search(str(error))


def _facts(error: BaseException) -> dict[str, Any]:
    return {
        "exit_code": 2 if isinstance(error, SintroError | OSError) or components.fault(error) else 1,
        "deterministic": is_deterministic(error),
    } | _origin()


def _origin() -> dict[str, Any]:
    """Return the Slurm job that this process runs in, and the log that it writes to."""
    return {"slurm_job": os.environ.get("SLURM_JOB_ID"), "log": _log()}


def _log() -> str | None:
    """Return the file that this process's stderr goes to; None where it goes to a terminal or a pipe."""
    with contextlib.suppress(OSError):
        path = Path(os.readlink("/proc/self/fd/2"))
        if path.is_file():
            return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    return None
