"""How long cells take: learnt from cells that are finished or running, else from shipped measurements, and said so.

Imports no torch.
"""

import contextlib
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from sintro import SintroError, studies
from sintro.cells import Cell
from sintro.presets import Settings
from sintro.results import FINISHED, Provenance, Unreadable, read
from sintro.states import State

FINISHED_PER_ROW = 3  # as many provenance.json are read for each row

# Milliseconds of CPU time of one iteration on one core: (at any size, the networks' part at the published batch of 512
# points, the mixture's at S = 100 and K = 64) in the warm-up and after it. Measured by `python -m benchmarks --cpu-time
# --threads 1` on a virtual core of an EPYC at 2.6 GHz that was busy otherwise; a core of one's own is faster.
VAE, WARMUP, INTROSPECTIVE = (3.0, 16.0, 19.0), (3.0, 15.0, 18.0), (3.0, 68.0, 73.0)
SHIPPED = {"vae": (VAE, VAE)} | dict.fromkeys(("soft-introvae", "introvae"), (WARMUP, INTROSPECTIVE))
EVALUATION = (11.0, 15.0)  # seconds of the same at the published grid of 1024 x 1024 points
START = 6.0  # seconds: importing torch, drawing the figures
IMAGE_ITERATION = 100.0  # milliseconds: one of a GPU, before anything was measured

Row = tuple[str, str, str, str, str]


def row_of(cell: Cell) -> Row:
    """The row of the grid a cell is in: the study, data set, objective without betas, prior and regularizers."""
    return cell.study, cell.dataset, cell.objective_name, cell.prior, cell.regularizers


class Length(NamedTuple):
    """A row's iterations, and what shipped measurements say of them."""

    iterations: int
    milliseconds: float  # per iteration, on average over the run
    evaluation: float  # seconds


def length(settings: Settings) -> Length:
    """The length of a cell with these settings, at shipped costs."""
    if settings.network != "mlp":
        return Length(settings.iterations, IMAGE_ITERATION, 60.0)  # no measurement of images is shipped
    size = settings.batch_size / 512
    share = settings.samples / 100 * (settings.components or 0) / 64
    cost = [fixed + size * (networks + share * mixture) for fixed, networks, mixture in SHIPPED[settings.objective]]
    mean = cost[1] + (cost[0] - cost[1]) * settings.warmup / settings.iterations
    grid = (settings.evaluation_grid / 1024) ** 2
    return Length(settings.iterations, mean, (EVALUATION[0] + EVALUATION[1] * share) * grid + START)


class Pace:
    """Seconds of work that cells still need.

    ``measured`` says whether anything of this study was; rows that were not are scaled by how the measured ones
    compare with the shipped numbers.
    """

    def __init__(self, states: Mapping[Cell, State], root: str | Path = "."):
        self.lengths: dict[Row, Length] = {}
        self.found: dict[Row, list[float]] = {}
        self.counted: dict[Row, int] = {}
        for cell, state in states.items():
            row = row_of(cell)
            if row not in self.lengths:
                self.lengths[row] = _length(cell)
            if state.name == "done" and self.counted.get(row, 0) < FINISHED_PER_ROW:
                self.counted[row] = self.counted.get(row, 0) + 1
                self._learn(row, Path(root, cell.path))
        for cell, state in states.items():
            if state.progress and (latest := state.progress.get("ms_per_iteration")) and row_of(cell) not in self.found:
                self._add(row_of(cell), latest)
        ratios = [
            statistics.fmean(values) / self.lengths[row].milliseconds
            for row, values in self.found.items()
            if self.lengths[row].iterations
        ]
        self.measured = bool(ratios)
        self.ratio = statistics.median(ratios) if ratios else 1.0

    def _learn(self, row: Row, folder: Path) -> None:
        """What a finished cell took, where its provenance says so."""
        with contextlib.suppress(Unreadable):
            finished = read(folder, Provenance)
            if finished and finished.wall_seconds is not None and finished.iterations:
                own = finished.wall_seconds / (finished.fleet or 1)
                self._add(row, 1e3 * own / finished.iterations)

    def _add(self, row: Row, milliseconds: float) -> None:
        self.found.setdefault(row, []).append(milliseconds)

    def milliseconds(self, cell: Cell) -> float:
        """Of one iteration of a cell, on average over its run."""
        row = row_of(cell)
        if row in self.found:
            return statistics.fmean(self.found[row])
        return self.ratio * self.lengths[row].milliseconds

    def seconds_left(self, cell: Cell, state: State) -> float:
        """The seconds of work that a cell still needs, alone on its cores; 0 for one that is finished."""
        if state.name in FINISHED:
            return 0.0
        one = self.lengths[row_of(cell)]
        evaluation = self._evaluation(one)
        if state.name == "to evaluate":
            return evaluation
        if state.progress:
            each = state.progress.get("ms_per_iteration") or self.milliseconds(cell)
            return max(0, state.progress["total"] - state.progress["done"]) * each / 1e3 + evaluation
        return one.iterations * self.milliseconds(cell) / 1e3 + evaluation

    def _evaluation(self, one: Length) -> float:
        return min(max(self.ratio, 0.3), 3.0) * one.evaluation  # short trainings are mostly overhead, evaluations not

    def share(self, cell: Cell, state: State) -> tuple[float, float]:
        """A cell's work in seconds: (what is done of it, all of it)."""
        one = self.lengths[row_of(cell)]
        whole = one.iterations * self.milliseconds(cell) / 1e3 + self._evaluation(one)
        return max(0.0, whole - self.seconds_left(cell, state)), whole


def wall_seconds(left: Iterable[float], at_a_time: int) -> float:
    """The time that pieces of work of these lengths take, so many at a time: no less than the longest of them."""
    pieces = [seconds for seconds in left if seconds > 0]
    return max(sum(pieces) / max(1, at_a_time), *pieces) if pieces else 0.0


def _length(cell: Cell) -> Length:
    try:
        return length(studies.settings(cell))
    except SintroError:  # its hyper-parameters wait for a search, which changes nothing here
        return Length(0, 0.0, 0.0)


def in_words(seconds: float) -> str:
    """90 s as ``1.5 min``."""
    for limit, unit, name in ((100, 1, "s"), (100 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.0f} {name}" if name == "s" or value >= 10 else f"{value:.1f} {name}"
    return f"{seconds / 86400:.1f} days"
