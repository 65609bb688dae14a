"""The files of one cell's training: before, during and after it.

Files appear whole or not at all (:func:`sintro.basics.files.write_atomic`). Provenance comes last: it marks the cell as
trained.
"""

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sintro import SintroError, __version__
from sintro.basics.files import Damaged, hash_file, load_tensors, save_tensors, write_atomic, write_json
from sintro.cells.cell import Cell
from sintro.cells.settings import Settings
from sintro.data.facts import Facts
from sintro.objectives.build import not_finite
from sintro.runs import results
from sintro.runs.folder import HANDED_OVER, PROVENANCE, cell_folder, environment, now, peak_memory
from sintro.runs.history import COLUMNS, to_csv, todays
from sintro.runs.stored import ASIDE, BETWEEN, CHECKPOINT, CellFile, Unreadable, cell_content, read_provenance
from sintro.training.players import Players

ROWS_OF_HISTORY = 300
NAN = math.nan


class Task(NamedTuple):
    """A cell to train: its resolved settings, the source of each, and the command that trains it."""

    cell: Cell
    settings: Settings
    sources: Mapping[str, str]
    command: str

    @property
    def folder(self) -> Path:
        return cell_folder(self.cell)


class Record:
    """A cell in training: its history so far, its state between two stretches, and the writing of its files."""

    def __init__(self, task: Task, device: str, threads: int):
        self.task, self.settings, self.folder, self.device = task, task.settings, task.folder, device
        self.every = max(1, task.settings.iterations // ROWS_OF_HISTORY)
        self.rows: list[list[float]] = []
        self.state: dict[str, Any] | None = None  # of the players, between two stretches of training
        self.done, self.resumed, self.seconds, self.beside = 0, 0, 0.0, 1
        self.data = Facts()
        self.data_then: Mapping[str, Any] = {}  # the checkpoint, which names the data that it was trained on
        self.provenance = environment(device, threads) | {"started": now(), "digest": task.settings.digest}
        if task.settings.precision is not None:
            self.provenance["precision"] = task.settings.precision

    def announce(self) -> None:
        """Write cell.json before the first step, and remove the outcome of an earlier training."""
        self._write_cell()
        for stale in (PROVENANCE, HANDED_OVER, *([] if self.state else [CHECKPOINT])):
            (self.folder / stale).unlink(missing_ok=True)

    def _write_cell(self) -> None:
        content = cell_content(self.task.cell, self.settings, self.task.sources)
        write_json(self.folder / CellFile.file, content | {"command": self.task.command, "version": __version__})

    def take_up(self, checkpoint: dict[str, Any]) -> None:
        """Go on from a checkpoint of the same settings."""
        self.done, self.seconds = checkpoint["iteration"], checkpoint["seconds"]
        self.resumed = checkpoint["resumed"] + 1
        self.provenance["started"] = checkpoint["started"]
        columns = todays(checkpoint["columns"])
        known = [dict(zip(columns, row, strict=True)) for row in checkpoint["rows"].tolist()]
        self.rows = [
            [row.get(name, NAN) for name in COLUMNS] for row in known
        ]  # another version may have had other columns
        self.state = checkpoint["state"]
        self.data_then = checkpoint
        total = self.settings.iterations
        print(f"resuming {self.task.cell.path} after {self.done} of {total} iterations", file=sys.stderr)

    def use(self, data: Facts) -> None:
        """Take these data, before any file is written; warn of unverified ones. SintroError unless the checkpoint's."""
        checkpoint = str(self.folder / CHECKPOINT)
        data.refuse_other(self.data_then, checkpoint, self.task.cell.dataset, "start over with --restart")
        self.data = data
        if warning := data.warning(self.task.cell.dataset):
            print(warning, file=sys.stderr)

    def logs(self, iteration: int) -> bool:
        """Whether an iteration gets a row in the history."""
        return (iteration + 1) % self.every == 0 or iteration + 1 == self.settings.iterations

    def add_row(
        self,
        iteration: int,
        rate: float,
        terms: Mapping[str, float],
        mean_responsibilities: torch.Tensor | None = None,
        log_vars: torch.Tensor | None = None,
    ) -> None:
        """Add a row to the history; ``mean_responsibilities`` [K] and ``log_vars`` [K, L] are those of the mixture."""
        values = dict.fromkeys(COLUMNS, NAN) | {name: value for name, value in terms.items() if name in COLUMNS}
        values["iteration"] = iteration + 1
        values["phase"] = int(iteration >= self.settings.warmup)
        values["learning_rate"] = rate
        if log_vars is not None:
            values |= {"prior_log_var_min": float(log_vars.min()), "prior_log_var_max": float(log_vars.max())}
        if mean_responsibilities is not None:
            average = mean_responsibilities.double()
            values["entropy_nats"] = float(-torch.special.xlogy(average, average).sum())
            values["active_modes"] = float((average >= 1 / average.numel() ** 2).sum())
        self.rows.append([values[name] for name in COLUMNS])

    def save_checkpoint(self, state: dict[str, Any], iteration: int, seconds: float) -> None:
        """Write checkpoint.pt: all that a resumed run needs, the history's rows included."""
        save_tensors(
            self.folder / CHECKPOINT,
            {
                "digest": self.settings.digest,
                "version": __version__,
                "iteration": iteration,
                "seconds": seconds,
                "resumed": self.resumed,
                "started": self.provenance["started"],
                "columns": list(COLUMNS),
                "rows": torch.tensor(self.rows, dtype=torch.float64).reshape(-1, len(COLUMNS)),
                "state": state,
                **self.data.recorded(),
            },
        )

    def save_model(self, name: str, state: dict[str, Any]) -> None:
        """Write the part of a state that evaluation needs: model.pt, or a snapshot at an evaluation epoch."""
        model = {key: state[key] for key in ("prior_kind", "parameters", "buffers", "bounds")}
        save_tensors(self.folder / name, model | {"digest": self.settings.digest, "version": __version__})

    def finish(self, players: Players, cell: int, seconds: float, diverged_at: int | None, last: str) -> None:
        """Write the final files, and provenance last, under the name ``last``."""
        if not (self.folder / CellFile.file).exists():  # somebody deleted the folder during the training
            self._write_cell()
        write_atomic(self.folder / "history.csv", to_csv(self.rows))
        outcome = self._outcome(players, cell, diverged_at)
        write_json(self.folder / last, self.provenance | self.data.recorded() | outcome | self._spent(seconds))
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def _spent(self, seconds: float) -> dict[str, Any]:
        """Return for provenance.json when training ended, and the time and memory that it took."""
        spent = {
            "finished": now(),
            "wall_seconds": round(seconds, 3),
            "peak_memory_bytes": peak_memory(),
            "iterations": self.settings.iterations,
            "resumed": self.resumed,
        }
        if self.beside > 1:
            spent["fleet"] = self.beside
        if self.device.startswith("cuda"):
            spent["device_seconds"] = round(seconds / self.beside, 3)  # a fleet's cells share the device
            spent["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated(self.device)
        return spent

    def _outcome(self, players: Players, cell: int, diverged_at: int | None) -> dict[str, Any]:
        """Return for provenance.json how training ended; write model.pt where it ended well, else remove it.

        A run whose losses are finite to the last, but not its weights, has diverged too.
        """
        path, reason = self.folder / "model.pt", None
        if diverged_at is not None:
            reason = f"the loss was not finite in iteration {diverged_at} of {self.settings.iterations}"
        else:
            state = players.state(cell)
            reason = not_finite(state)
            diverged_at = self.settings.iterations
        if reason is None:
            self.save_model(path.name, state)
            return {"status": "done", "model_sha256": hash_file(path)}
        path.unlink(missing_ok=True)
        return {"status": "diverged", "diverged_at": diverged_at, "reason": reason}


def is_finished(task: Task) -> bool:
    """Whether a finished run with these settings exists; reports it on stderr.

    Its model may be gone once nothing needs it: the metrics count, or the run diverged. Raises SintroError where the
    provenance or the history is damaged, or where the run had other data.
    """
    folder = task.folder
    try:
        read_provenance(folder)
    except Unreadable as error:  # read first: under a lock the judge would say "running"
        if isinstance(error.__cause__, OSError):
            raise
        raise SintroError(f"{error}; train the cell anew: sintro train {folder} --restart") from error
    found = results.judge(task.cell, folder, asked=results.Asked(task.settings.digest))
    history = folder / "history.csv"
    if not found.trained or not history.exists():
        return False
    if not history.read_bytes().endswith(b"\n"):
        raise SintroError(f"{history} is cut off; train the cell anew: sintro train {folder} --restart")
    _compare_data(task, found.provenance.content())
    print(f"{folder} is {found.provenance.status} already; --restart trains it anew", file=sys.stderr)
    return True


def _compare_data(task: Task, finished: Mapping[str, Any]) -> None:
    """Raise SintroError where a finished run had other data than this machine; a note where it has no readable data."""
    if task.cell.data.kind != "images":
        return
    from sintro.data import images

    try:
        facts = images.load(task.cell.dataset, "train").facts
    except SintroError as error:
        print(f"note: {task.folder} was not compared with the data: {error}", file=sys.stderr)
        return
    facts.refuse_other(finished, f"{task.folder}", task.cell.dataset, "train it anew with --restart")


def accept(task: Task) -> None:
    """Make the result that a fleet of the workflow handed over the cell's own, where there is one."""
    handed_over = task.folder / HANDED_OVER
    if handed_over.exists() and not (task.folder / PROVENANCE).exists():
        os.replace(handed_over, task.folder / PROVENANCE)


def read_checkpoint(task: Task) -> dict[str, Any] | None:
    """Read the cell's checkpoint of these settings; one of other settings is put aside, with a line on stderr.

    One that was put aside is taken up again when its settings are asked for; one of other settings takes its place.
    """
    path, aside, between = (task.folder / name for name in (CHECKPOINT, ASIDE, BETWEEN))
    if between.exists():  # a process was killed while two checkpoints changed places
        os.replace(between, aside if path.exists() else path)
    checkpoint = _checkpoint_in(path)
    if checkpoint is not None and checkpoint["digest"] == task.settings.digest:
        return checkpoint
    earlier = _put_aside_before(aside, task.settings.digest)
    if earlier is None and checkpoint is None:
        return None
    if checkpoint is None:
        os.replace(aside, path)
        print(f"{aside} has the hyper-parameters asked for; going on from it", file=sys.stderr)
        return earlier
    os.replace(path, between)
    if earlier is not None:
        os.replace(aside, path)
    os.replace(between, aside)
    ending = "starting anew" if earlier is None else "going on from the one that lay there"
    print(f"{path} belongs to other hyper-parameters; kept as {aside.name}, {ending}", file=sys.stderr)
    return earlier


def _put_aside_before(aside: Path, digest: str) -> dict[str, Any] | None:
    """Read the checkpoint that was put aside, where it is of these settings; a damaged one counts as none.

    Raises SintroError where the disk does not give the file.
    """
    try:
        earlier = _checkpoint_in(aside)
    except Damaged:
        return None
    return earlier if earlier is not None and earlier["digest"] == digest else None


def _checkpoint_in(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint; None where there is none. Raises Damaged for what is no checkpoint."""
    if not path.exists():
        return None
    remedy = "delete it, or start over with --restart"
    checkpoint = load_tensors(path, remedy)
    expected = {"digest", "iteration", "seconds", "resumed", "started", "columns", "rows", "state"}
    if not isinstance(checkpoint, dict) or not expected <= checkpoint.keys():
        raise Damaged(f"{path} is not a checkpoint of a training run; {remedy}")
    return checkpoint
