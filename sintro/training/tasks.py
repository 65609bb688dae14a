"""Train cells, alone or in fleets: decide which train and when, lock their folders, record how each ends.

A run that was stopped, in whatever way, and started again by the same command ends with the same bits as a run that
was not (docs/design.md, invariant 3). Divergence is a result: it is written down, the other cells of a fleet go on, and
the run ends with exit code 0.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

from sintro import PassingError, SintroError
from sintro.basics.files import Damaged, remove_unfinished
from sintro.cells.fleets import by_shape, check_equal_shape, split
from sintro.runs import failures, results
from sintro.runs.devices import fleet_size
from sintro.runs.failures import INTERRUPTED
from sintro.runs.lock import BusyError, Lock, Patience
from sintro.runs.signals import StopSignals
from sintro.training.loop import Fleet, Options
from sintro.training.record import Record, Task, accept, is_finished, read_checkpoint


def train_all(tasks: Sequence[Task], options: Options, side_by_side: int | None = None) -> int:
    """Train cells in their folders, each from its checkpoint if it has one.

    Finished cells are left out. Of a fleet, the cells with the fewest finished iterations begin, and the others join
    when these catch up. Returns 0, or 75 after a signal: then every cell that began has its checkpoint.

    Args:
        side_by_side: how many train at a time; None: as many as the device holds.

    Raises: SintroError where cells of unequal shape are to train side by side, for folders without write permission
        and full disks; and, after all other cells have trained, one that names every cell whose files cannot be read,
        or that failed in a way that does not pass.
    """
    if side_by_side and side_by_side > 1:
        check_equal_shape([task.settings for task in tasks])
    with recording(tasks):
        if options.graph and not options.device.startswith("cuda"):
            raise PassingError(f"--graph: CUDA graphs need a GPU, and the device is {options.device}")
    left, refused = [], []
    for task in tasks:
        try:
            left += _unfinished([task], options)
        except (SintroError, OSError) as error:  # a damaged file of one cell does not keep the others from training
            refused.append(failures.in_words(error))
    parts = []
    for alike in by_shape(left, lambda task: task.settings):
        parts += split(alike, side_by_side or fleet_size(alike[0].settings, options.device, graph=options.graph))
    with StopSignals() as stop:
        for part in parts:
            try:
                with recording(part):
                    code = _train_together(part, options, stop, refused)
            except SintroError as error:
                if not failures.is_deterministic(error):
                    raise
                refused.append(str(error))
                continue
            if code:
                _write_stop(part, stop, options.restart)
            if code or (stop.caught and part is not parts[-1]):
                return INTERRUPTED
    if refused:
        raise SintroError("; ".join(refused))
    return 0


def recording(tasks: Sequence[Task]) -> AbstractContextManager[None]:
    """Write an error of the block down in the folders of these cells."""
    return failures.recording("train", {task.folder: task.settings.digest for task in tasks})


def _write_stop(tasks: Sequence[Task], stop: StopSignals, restarted: bool) -> None:
    """Write down which cells a signal stopped, so that nobody takes the stop for a failure.

    A cell that another process trains is left out, and outside a workflow a cell that has no folder yet.
    """
    stopped = {}
    for task in tasks:
        found = results.judge(task.cell, task.folder, asked=results.Asked(task.settings.digest))
        begun = task.folder.is_dir() and found.state != "running"
        if not found.trained and (begun or failures.RUN in os.environ):
            stopped[task.folder] = task.settings.digest
    failures.write_stop(stopped, stop.caught, restarted)


def _unfinished(tasks: Sequence[Task], options: Options) -> list[Task]:
    """Return the tasks that are still to be done; accept the results of the finished ones."""
    left = []
    for task in tasks:
        with recording([task]):
            if options.restart or not is_finished(task):
                left.append(task)
                continue
            failures.clear(task.folder, "train")
            if not options.hand_over:
                accept(task)
    return left


def _train_together(tasks: Sequence[Task], options: Options, stop: StopSignals, refused: list[str]) -> int:
    """Train cells side by side, once no other process trains any of them. Returns the exit code: 0 or 75.

    Cells whose checkpoint is damaged are left out, and said in ``refused``.
    """
    patience = Patience(options.wait)
    while tasks:
        try:
            held, locks = _lock_all(tasks, options)
        except BusyError as busy:
            if stop.caught:
                print(f"stopped by {stop.caught} while it waited: {busy}", file=sys.stderr)
                return INTERRUPTED
            patience.wait(busy)
            tasks = _unfinished(tasks, options)
            continue
        with held:
            left = _unfinished(tasks, options)  # another process may have finished some just before
            if len(left) == len(tasks):
                records = _records(tasks, options, refused)
                if len(records) == len(tasks):
                    return Fleet(records, locks, options, stop).train()
                left = [record.task for record in records]
        tasks = left
    return 0


def _lock_all(tasks: Sequence[Task], options: Options) -> tuple[ExitStack, list[Lock]]:
    """Lock the folders of all tasks, or of none: a process that waits holds no lock, so no two wait for each other."""
    with ExitStack() as stack:
        locks = [stack.enter_context(Lock(task.folder, task.settings.iterations, options.device)) for task in tasks]
        return stack.pop_all(), locks


def _records(tasks: Sequence[Task], options: Options, refused: list[str]) -> list[Record]:
    """Make the records of locked tasks, each from its checkpoint; a damaged one is said in ``refused`` instead."""
    records = []
    for task in tasks:
        try:
            with recording([task]):
                failures.clear(task.folder)
                remove_unfinished(task.folder)
                checkpoint = None if options.restart else read_checkpoint(task)
                records.append(Record(task, options.device, options.threads))
                if checkpoint is not None:
                    records[-1].take_up(checkpoint)
        except Damaged as error:
            refused.append(str(error))
    return records
