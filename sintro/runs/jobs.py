"""The causes of the workflow's failed jobs, where the step itself could not write its cause down.

A job that Slurm refused, that died before Python began, or that was killed for its memory or time leaves no record of
its own. Snakemake tells its log handlers at once that a job failed. The handler here looks for the cause in Snakemake's
message, in Slurm's log and in the step's own, and writes it down in the cell's folder (:mod:`sintro.runs.failures`).
Imports no torch and no Snakemake: the Snakefile hands its logger over.
"""

import atexit
import contextlib
import logging
import os
import re
import sys
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sintro import SintroError
from sintro.basics.output import print_whatever_comes
from sintro.cells import fleets, studies
from sintro.cells.cell import Cell
from sintro.runs import failures, results
from sintro.runs.folder import HANDED_OVER

STEPS: dict[str, failures.Step] = {"train": "train", "fleet": "train", "evaluate": "evaluate"}  # rule -> step
TAIL = 64 * 1024  # bytes at a log's end that are read
ERROR = "error: "  # begins the last line of a step that ends with an error
SLACK = 2.0  # seconds by which a file's time may lag behind this machine's clock

# Slurm's names for the end of a job, and lines of its log, in plain words.
STATES = {
    "OUT_OF_MEMORY": "killed: it needed more memory than it had asked for",
    "TIMEOUT": "killed: its time was up",
    "DEADLINE": "killed: its deadline had come",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not start",
}
LINES = (
    (re.compile(r"oom.?kill|out of memory|exceeded.*memory limit", re.IGNORECASE), STATES["OUT_OF_MEMORY"]),
    (re.compile(r"DUE TO TIME LIMIT|: User defined signal 1"), STATES["TIMEOUT"]),
    (re.compile(r"DUE TO PREEMPTION"), "another job took its node (pre-empted)"),
    (re.compile(r"DUE TO NODE FAILURE"), STATES["NODE_FAIL"]),
    (re.compile(r"task \d+: Killed"), "killed (SIGKILL): perhaps for its memory"),
    (re.compile(r"CANCELLED AT"), "cancelled"),
)
# Slurm's refusals of the request itself; the others (a busy controller) may be gone at the next try.
ABOUT_THE_REQUEST = re.compile(r"invalid|not available|can ?not be satisfied|not permitted|exceed", re.IGNORECASE)
ASKED = {"partition": r" -p (\S+)", "account": r" -A (\S+)", "minutes": r" -t (\S+)", "MB": r" --mem (\S+)"}
NOT_A_CAUSE = re.compile(r"^(srun: (error|job|First|Force)|slurmstepd: |\[.*\]$|Exiting because|WorkflowError:?$)")


class Cause(NamedTuple):
    """Why a job failed, and the log that says more; ``deterministic`` as in :class:`failures.Failure`.

    ``stopped``: a signal stopped the job, which is no failure.
    """

    message: str
    log: str
    deterministic: bool = False
    stopped: bool = False


class Failed(NamedTuple):
    """A failed job: its rule, its output and the cause."""

    rule: str
    output: str
    cause: Cause

    @property
    def subject(self) -> str:
        """Return the cell or the data set of the job, or else its output."""
        if self.rule in ("train", "evaluate"):
            return self.output.rpartition("/")[0]
        return self.output.rpartition("/")[2] if self.rule == "fetch" else self.output


class Listener(logging.Handler):
    """A log handler that hears which jobs begin, fail and succeed; ``failed`` holds each job's last failure."""

    def __init__(self, logger: logging.Logger):
        super().__init__()
        self.logger = logger
        self.started = time.time()
        self.began: dict[int, float] = {}
        self.failed: dict[int, Failed] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of an event. A fault in this method is reported and does not disturb the workflow."""
        try:
            event = getattr(record, "event", None)
            if event == "job_info":
                self.began[record.jobid] = time.time()  # type: ignore[attr-defined]
                if record.rule_name == "train":  # type: ignore[attr-defined]
                    self._keep(Path(record.output[0]))  # type: ignore[attr-defined]
            elif event == "job_finished":
                self.failed.pop(record.job_id, None)  # type: ignore[attr-defined]  a later try succeeded
            elif event == "job_error":
                self._note(record)
        except Exception:
            self.handleError(record)

    def _keep(self, provenance: Path) -> None:
        """Move a training that somebody else has finished since the workflow began to where the job takes it over.

        Snakemake deletes the file that it expects of a job before the job starts, which is now.
        """
        with contextlib.suppress(FileNotFoundError):
            if provenance.stat().st_mtime > self.started and results.is_trained(Cell.from_path(str(provenance.parent))):
                provenance.replace(provenance.with_name(HANDED_OVER))

    def _note(self, record: logging.LogRecord) -> None:
        rule, (output, *_) = record.rule_name, record.output  # type: ignore[attr-defined]
        own, slurm = _logs(record.log)  # type: ignore[attr-defined]
        message = str(record.rule_msg or "")  # type: ignore[attr-defined]
        began = self.began.get(record.jobid, 0.0)  # type: ignore[attr-defined]
        folders = _folders(rule, output)
        cause = _written_down(folders, rule, slurm)
        if cause is None:
            cause = find(message, own, slurm, began)
            cause = cause._replace(log=cause.log or self._snakemakes_log())
            _write_down(folders, rule, cause, slurm)
        self.failed[record.jobid] = Failed(rule, output, cause)  # type: ignore[attr-defined]

    def _snakemakes_log(self) -> str:
        files = [each.baseFilename for each in self.logger.handlers if isinstance(each, logging.FileHandler)]
        return _here(files[0]) if files else ""

    def summary(self) -> list[str]:
        """Return a line for each job that failed in the end: its subject, the cause, and the log that says more."""
        lines = []
        for failed in self.failed.values():
            state = "stopped" if failed.cause.stopped else "failed"
            lines.append(f"{state}: {failed.rule} {failed.subject}: {failed.cause.message} (log: {failed.cause.log})")
        return lines


def begin(logger: logging.Logger) -> Listener:
    """Name this run of the workflow to its jobs and listen to them; print their failures when Snakemake ends."""
    print_whatever_comes()
    os.environ[failures.RUN] = uuid.uuid4().hex
    listener = Listener(logger)
    logger.addHandler(listener)
    atexit.register(_tell, listener)
    return listener


def _tell(listener: Listener) -> None:
    for line in listener.summary():
        print(line, file=sys.stderr, flush=True)


def find(message: str, own: str, slurm: str, began: float = 0.0) -> Cause:
    """Find the cause of a job's failure in the words of Snakemake and Slurm, and else at the end of the step's log.

    Args:
        message: Snakemake's message on the failure.
        own, slurm: the paths of the step's log and of Slurm's, "" where there is none.
        began: when Snakemake submitted the job, in seconds since the epoch; an older log belongs to an earlier try.
    """
    if refused := re.search(r"sbatch failed. The error message was '(.*?)'\.\n", message, re.DOTALL):
        return _refused(refused[1], message)
    if unasked := re.search(r"Job submission failed with exception: (.+)", message):
        return Cause(f"Slurm could not be asked: {unasked[1].strip()}", "")
    said = _read(own) if own and _written_since(own, began) else []
    lines = _read(slurm) if slurm else []
    state = re.search(r"SLURM status is: '(\w+)'", message)
    if state and state[1] in STATES:
        return Cause(STATES[state[1]], slurm or own)
    for pattern, words in LINES:
        if any(pattern.search(line) for line in lines):
            return Cause(words, slurm)
    if state and state[1] == "CANCELLED":
        return Cause("cancelled, or another job took its node", slurm or own)
    if said and said[-1].startswith(ERROR):
        return Cause(said[-1].removeprefix(ERROR), own)
    if said:
        return Cause(f"it died without writing down why (killed?); its log ends: {said[-1]}", own)
    causes = [line for line in lines if not NOT_A_CAUSE.search(line)]
    if causes:
        return Cause(causes[-1], slurm)
    if slurm or not own:
        return Cause(message.splitlines()[0] if message else "it failed without a word", slurm)
    return Cause("it died before it wrote anything", own)


def _refused(said: str, message: str) -> Cause:
    """Return the cause where Slurm refused the job: its words, and the resources that the job asked for."""
    reasons = [line.removeprefix("sbatch: error: ").strip() for line in said.splitlines()]
    call = message.partition("sbatch call:")[2].partition(" --wrap")[0]
    found = {name: re.search(pattern, call) for name, pattern in ASKED.items()}
    asked = ", ".join(f"{name} {match[1]}" for name, match in found.items() if match)
    words = f"Slurm refused the job: {'; '.join(filter(None, reasons))}"
    return Cause(f"{words} (asked for: {asked})" if asked else words, "", bool(ABOUT_THE_REQUEST.search(said)))


def _logs(given: Iterable[str]) -> tuple[str, str]:
    """Tell the step's own log from Slurm's; "" for one that is missing."""
    own, slurm = "", ""
    for log in map(str, given):
        if re.fullmatch(r"\d+(_\d+)?\.log", Path(log).name):
            slurm = _here(log)
        else:
            own = own or log
    return own, slurm


def _folders(rule: str, output: str) -> list[Path]:
    """Return the folders of those of a job's cells that are not done."""
    path = Path(output)
    if rule in ("train", "evaluate"):
        return [path.parent]
    if rule != "fleet":
        return []
    study = path.parts[1]
    try:
        cells: Iterable[Cell] = fleets.of_study(studies.load(study)).get(path.stem, ())
    except SintroError:
        return []
    return [Path(cell.path) for cell in cells if not results.is_trained(cell)]


def _written_down(folders: Iterable[Path], rule: str, slurm: str) -> Cause | None:
    """Return the cause that this try of the step has written down itself; None where it has not."""
    for folder in folders:
        found = failures.read(folder)
        if found is None or (found.run, found.step) != (os.environ.get(failures.RUN), STEPS[rule]):
            continue
        if slurm and not found.deterministic and found.slurm_job != Path(slurm).stem:
            continue
        return Cause(found.message, found.log or "", found.deterministic, found.was_stopped)
    return None


def _write_down(folders: Iterable[Path], rule: str, cause: Cause, slurm: str) -> None:
    """Write a cause into the folders of a job's cells."""
    job = Path(slurm).stem if slurm else None
    facts = {"deterministic": cause.deterministic, "log": cause.log, "slurm_job": job, "host": None}
    for folder in folders:
        with contextlib.suppress(SintroError):  # the folder may be unwritable, which the summary then says
            failures.write(folder, STEPS[rule], cause.message, **facts)


def _written_since(path: str, moment: float) -> bool:
    try:
        return Path(path).stat().st_mtime >= moment - SLACK
    except OSError:
        return False


def _read(path: str) -> list[str]:
    """Return the last lines of a log without empty ones; each state of a progress bar counts as a line."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def _here(path: str) -> str:
    """Return a path relative to the working folder, where it lies below that."""
    given = Path(path)
    return str(given.relative_to(Path.cwd())) if given.is_relative_to(Path.cwd()) else path
