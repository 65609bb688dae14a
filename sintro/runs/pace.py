"""How long cells take, learnt from cells that are finished or running, else from shipped measurements.

Imports no torch.
"""

import contextlib
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import yaml

from sintro import SintroError
from sintro.cells import components, studies
from sintro.cells.cell import Cell
from sintro.cells.settings import Settings
from sintro.runs.results import FINISHED
from sintro.runs.states import State
from sintro.runs.stored import Metrics, Provenance, Unreadable, read

FINISHED_PER_ROW = 3  # provenance.json files that are read for each row

# Milliseconds of CPU time of one iteration on one core, in three parts: a constant; the networks at the published batch
# of 512 points; the mixture at S = 100 and K = 64. Measured by `python -m benchmarks --cpu-time --threads 1` on a
# virtual core of an EPYC at 2.6 GHz that others used too; a core of one's own is faster.
VAE, WARMUP, INTROSPECTIVE = (3.0, 16.0, 19.0), (3.0, 15.0, 18.0), (3.0, 68.0, 73.0)
EVALUATION = (11.0, 15.0)  # seconds of an evaluation at the published grid of 1024 x 1024 points: networks, mixture
START = 6.0  # seconds: importing torch, drawing the figures
IMAGE_ITERATION = 100.0  # milliseconds on a GPU: a guess, before anything is measured
GPU_RATE = 50e12  # operations a second that a GPU of the class of an A100 sustains with large images: a guess
CORE_RATE = 40e9  # the same of one core: measured on an EPYC at 2.4 GHz with the networks and images of FashionMNIST
# Milliseconds on one core with the networks of study fmnist-small; others are scaled by their layers' weights.
IMAGE_ITERATION_ON_A_CORE, ITS_BATCH, ITS_CHANNELS = 450.0, 128, (16, 32)
TWO_CODE_CHANNELS = {32: (24, 24), 64: (128, 256, 256, 256)}  # stand for networks with two codes, by the image's side
PASSES_OF_A_STEP = 13  # through encoder and decoder, that an introspective step is worth for each image of its batch
PASSES_OF_AN_EVALUATION = 12  # for each generated image, besides one for each snapshot
PROFILE = Path("slurm", "config.yaml")

Row = tuple[str, str, str, str, str]


def row_of(cell: Cell) -> Row:
    """Return a cell's row of the grid: study, data set, objective without betas, prior and regularizers."""
    return cell.study, cell.dataset, cell.objective_name, cell.prior, cell.regularizers


class Length(NamedTuple):
    """A row's iterations, and the time that shipped measurements give them."""

    iterations: int
    milliseconds: float  # per iteration, on average over the run
    evaluation: float  # seconds


def length(settings: Settings, on_gpu: bool = False) -> Length:
    """Return the length of a cell with these settings, by shipped measurements."""
    if settings.network != "mlp":  # rough: one network was measured, on one core
        channels = settings.channels or TWO_CODE_CHANNELS[settings.event[-1]]
        share = settings.batch_size / ITS_BATCH * _weights(channels) / _weights(ITS_CHANNELS)
        work = operations(settings.event, channels, settings.latent_size)
        large = 1e3 * PASSES_OF_A_STEP * work * settings.batch_size / GPU_RATE
        milliseconds = max(IMAGE_ITERATION, large) if on_gpu else IMAGE_ITERATION_ON_A_CORE * share
        passes = settings.evaluation_images * (len(settings.snapshots) + PASSES_OF_AN_EVALUATION)
        return Length(settings.iterations, milliseconds, max(60.0, passes * work / (GPU_RATE if on_gpu else CORE_RATE)))
    size = settings.batch_size / 512
    share = settings.samples / 100 * (settings.components or 0) / 64
    introspective = components.objective(settings.objective).introspective
    phases = (WARMUP, INTROSPECTIVE) if introspective else (VAE, VAE)
    cost = [fixed + size * (networks + share * mixture) for fixed, networks, mixture in phases]
    mean = cost[1] + (cost[0] - cost[1]) * settings.warmup / settings.iterations
    grid = (settings.evaluation_grid / 1024) ** 2
    return Length(settings.iterations, mean, (EVALUATION[0] + EVALUATION[1] * share) * grid + START)


def operations(event: Sequence[int], channels: Sequence[int], latent_size: int) -> float:
    """Return the operations of one image's way through encoder and decoder, a multiplication and an addition each one.

    Convolutions and linear layers of docs/science.md, section 5; norms and activations are left out.
    """
    colours, height, width = event
    first, last, pixels = channels[0], channels[-1], height * width
    products = 2 * 25 * colours * first * pixels  # the 5 x 5 convolution at each end
    for before, after in pairwise(channels):  # of the encoder
        pixels //= 4
        products += pixels * _block(before, after)
    pixels //= 4
    products += pixels * (_block(last, last) + 3 * latent_size * last)
    for before, after in pairwise((last, *reversed(channels))):  # of the decoder
        products += pixels * _block(before, after)
        pixels *= 4
    return 2.0 * (products + pixels * _block(first, first))


def _block(before: int, after: int) -> int:
    """Return the weights of a residual block's convolutions."""
    return 9 * before * after + 9 * after**2 + (before * after if before != after else 0)


def _weights(channels: Iterable[int]) -> int:
    """Return a number in proportion to the weights of convolutions with these channels."""
    return sum(count**2 for count in channels)


class Pace:
    """Seconds of work that cells still need.

    ``measured`` says whether any row of this study was measured. A row that was not has its shipped number times
    ``ratio``, the median ratio of measured to shipped numbers over the other rows.
    """

    def __init__(self, states: Mapping[Cell, State]):
        self.lengths: dict[Row, Length] = {}
        self.found: dict[Row, list[float]] = {}
        self.evaluations: dict[Row, list[float]] = {}  # seconds
        self.counted: dict[Row, int] = {}
        self.devices: dict[Row, str] = {}  # where cells of a row were or are trained
        self.unknown: dict[Row, str] = {}  # rows whose length is not known yet, and why
        self.gpus = gpus_are_asked_for(PROFILE)
        for cell, state in states.items():
            row = row_of(cell)
            if state.name == "done" and self.counted.get(row, 0) < FINISHED_PER_ROW:
                self.counted[row] = self.counted.get(row, 0) + 1
                self._learn(row, Path(cell.path))
        for cell, state in states.items():
            if not state.progress:
                continue
            row = row_of(cell)
            self.devices.setdefault(row, str(state.progress.get("device", "")))
            if row not in self.found and (latest := state.progress.get("ms_per_iteration")):
                self._add(row, latest)
        for cell in states:
            if row_of(cell) not in self.lengths:
                self.lengths[row_of(cell)] = self._length(cell)
        ratios = self._ratios(self.found, "milliseconds")
        self.measured = bool(ratios)
        self.ratio = statistics.median(ratios) if ratios else 1.0
        ratios = self._ratios(self.evaluations, "evaluation")
        # Before any evaluation was timed, trainings tell; but short ones are mostly overhead, evaluations are not.
        self.evaluation_ratio = statistics.median(ratios) if ratios else min(max(self.ratio, 0.3), 3.0)

    def _length(self, cell: Cell) -> Length:
        try:
            return length(studies.settings(cell), self.on_gpu(cell))
        except SintroError as error:  # such as of hyper-parameters that wait for a search
            self.unknown[row_of(cell)] = str(error)
            return Length(0, 0.0, 0.0)

    def _ratios(self, measured: Mapping[Row, list[float]], part: str) -> list[float]:
        """Return the ratio of measured to shipped numbers of each row; a row that waits for a search has none."""
        shipped = {row: getattr(self.lengths[row], part) for row in measured}
        return [statistics.fmean(values) / shipped[row] for row, values in measured.items() if shipped[row]]

    def _learn(self, row: Row, folder: Path) -> None:
        """Take note of the time that a finished cell took, where its provenance says it."""
        with contextlib.suppress(Unreadable):
            finished = read(folder, Provenance)
            if finished and finished.device:
                self.devices[row] = finished.device
            if finished and finished.wall_seconds is not None and finished.iterations:
                own = finished.wall_seconds / (finished.fleet or 1)
                self._add(row, 1e3 * own / finished.iterations)
            evaluated = read(folder, Metrics)
            if evaluated and evaluated.status == "done" and evaluated.evaluation_seconds:
                self.evaluations.setdefault(row, []).append(evaluated.evaluation_seconds)

    def _add(self, row: Row, milliseconds: float) -> None:
        self.found.setdefault(row, []).append(milliseconds)

    def on_gpu(self, cell: Cell) -> bool:
        """Whether a cell trains on a GPU: as its row does; where unknown, image cells do if jobs ask for GPUs."""
        known = self.devices.get(row_of(cell))
        return known.startswith("cuda") if known else cell.data.kind == "images" and self.gpus

    def milliseconds(self, cell: Cell) -> float:
        """Return the milliseconds of one iteration of a cell, on average over its run."""
        row = row_of(cell)
        if row in self.found:
            return statistics.fmean(self.found[row])
        return self.ratio * self.lengths[row].milliseconds

    def seconds_left(self, cell: Cell, state: State) -> float:
        """Return the seconds of work that a cell still needs, alone on its cores; 0 for a finished cell."""
        if state.name in FINISHED:
            return 0.0
        one, evaluation = self.lengths[row_of(cell)], self.evaluation_seconds(cell)
        if state.name == "to evaluate":
            return evaluation
        if state.progress:
            each = state.progress.get("ms_per_iteration") or self.milliseconds(cell)
            return max(0, state.progress["total"] - state.progress["done"]) * each / 1e3 + evaluation
        return one.iterations * self.milliseconds(cell) / 1e3 + evaluation

    def evaluation_seconds(self, cell: Cell) -> float:
        """Return the seconds of a cell's evaluation."""
        row = row_of(cell)
        if row in self.evaluations:
            return statistics.fmean(self.evaluations[row])
        return self.evaluation_ratio * self.lengths[row].evaluation

    def share(self, cell: Cell, state: State) -> tuple[float, float]:
        """Return a cell's work in seconds: the part that is done, and the whole."""
        one = self.lengths[row_of(cell)]
        whole = one.iterations * self.milliseconds(cell) / 1e3 + self.evaluation_seconds(cell)
        return max(0.0, whole - self.seconds_left(cell, state)), whole


def wall_seconds(left: Iterable[float], at_a_time: int) -> float:
    """Return the time that pieces of work take, ``at_a_time`` side by side: never less than the longest piece."""
    pieces = [seconds for seconds in left if seconds > 0]
    return max(sum(pieces) / max(1, at_a_time), *pieces) if pieces else 0.0


@lru_cache(maxsize=1)
def gpus_are_asked_for(profile: Path) -> bool:
    """Whether image cells train on GPUs: this machine has one, or its cluster has and the profile allows it."""
    if shutil.which("nvidia-smi"):
        return True
    try:
        command = ["sinfo", "--noheader", "--format=%G"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        config = yaml.safe_load(profile.read_text(encoding="utf-8")).get("config") or ()
    except (OSError, ValueError, AttributeError, subprocess.SubprocessError, yaml.YAMLError):  # no cluster, no profile
        return False
    return "gpu" in listed and "gpus=none" not in config
