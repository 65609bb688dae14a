"""Train one cell within this process, as ``sintro train CELL --device cpu --threads 1`` does."""

from sintro.cells.cell import Cell
from sintro.cells.settings import Settings
from sintro.runs.devices import set_threads
from sintro.training.loop import Options
from sintro.training.record import Task
from sintro.training.tasks import train_all


def train_alone(cell: Cell, settings: Settings, **options) -> int:
    """Train a cell with these settings and :class:`Options`; return the exit code."""
    return train_all(
        [Task(cell, settings, {}, f"sintro train {cell.path}")], Options(threads=set_threads(1), **options)
    )
