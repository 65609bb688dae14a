"""``sintro train`` and ``sintro fleet``: from cells and the options of a command line to training.

Torch is imported late, so that cells which cannot be trained are refused at once.
"""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sintro import SintroError
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.cells.settings import Settings
from sintro.runs import failures, results


def train_cells(cells: Sequence[Cell], given: Mapping[str, Any], side_by_side: int | None, **how: Any) -> int:
    """Train cells; return the exit code: 0, or 75 where a signal stopped the training.

    Args:
        given: the options that belong to the command in cell.json, by their names on the command line: ``device``,
            ``threads`` and, where they were given, ``iterations``, ``precision`` and ``data``.
        side_by_side: how many cells of equal shape train at a time; None: as many as the device holds.
        how: further fields of :class:`sintro.training.loop.Options`.

    Raises: SintroError for settings that fit no run, and as :func:`sintro.training.tasks.train_all` does.
    """
    failures.refuse_repeated("train", [Path(cell.path) for cell in cells])
    asked = given.get("iterations"), given.get("precision")
    resolved = [(cell, studies.settings(cell, *asked), studies.sources(cell, *asked)) for cell in cells]
    if any(asked) and not how.get("restart"):
        for cell, settings, _ in resolved:
            _refuse_in_place_of_result(cell, settings)
    _check_weights(cells, [settings for _, settings, _ in resolved])
    from sintro.runs.devices import pick_device, set_threads
    from sintro.training.loop import Options
    from sintro.training.record import Task
    from sintro.training.tasks import recording, train_all

    tasks = [Task(*one, _command(one[0], given)) for one in resolved]
    with recording(tasks):
        device, threads = pick_device(given["device"]), set_threads(given["threads"])
    return train_all(tasks, Options(device, threads, **how), side_by_side)


def _refuse_in_place_of_result(cell: Cell, trial: Settings) -> None:
    """Raise SintroError where a trial, which differs from what the study asks for, would replace a finished run."""
    own = results.Asked.of(cell)
    if trial.digest != own.digest and results.judge(cell, asked=own).trained:
        raise SintroError(
            f"{cell.path} has a finished run with the settings of its study, which one with --iterations or "
            "--precision would replace: try it in a cell of another study or seed, or throw it away with --restart"
        )


def _check_weights(cells: Sequence[Cell], settings: Sequence[Settings]) -> None:
    """Say on stderr for which data sets FID will not be measured, since Inception's weights are missing.

    Raises SintroError where a cell's losses need VGG-16's weights, and those are missing or not right.
    """
    from sintro.data import sources

    if any(each.reconstruction for each in settings):
        sources.require_weights(sources.VGG16, sources.data_root())
    for dataset in dict.fromkeys(cell.dataset for cell in cells if cell.data.kind == "images"):
        if note := sources.missing_inception(dataset):
            print(f"note: {note}", file=sys.stderr)


def _command(cell: Cell, given: Mapping[str, Any]) -> str:
    """Return the command line, as a shell reads it, that trains a cell in the same way; defaults are left out."""
    words = ["sintro", "train", cell.path]
    for name, value in given.items():
        if value not in (None, "auto"):
            words += [f"--{name}", str(value)]
    return shlex.join(words)
