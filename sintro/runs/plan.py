"""``sintro plan``: the work and disk that a study needs; ``sintro clean``: the files to delete. Imports no torch."""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sintro import SintroError
from sintro.basics.files import UNFINISHED
from sintro.basics.progress import duration_in_words, size_in_words
from sintro.cells.cell import RESULTS, Cell
from sintro.runs import lock
from sintro.runs.pace import Pace, row_of, wall_seconds
from sintro.runs.results import FINISHED
from sintro.runs.states import LOGS, State, listed, of_cells
from sintro.runs.stored import ASIDE, BETWEEN, CHECKPOINT

REPORTS = "reports"
# Bytes of a finished cell and of a checkpoint, measured with the studies quick (2D) and the image networks.
# Those of large images follow from 42 million weights: twice the model and pictures; the weights, Adam's two moments
# and ten snapshots.
SHIPPED_SIZES = {
    "2d": (2_500_000, 3_500_000),
    "image": (60_000_000, 120_000_000),
    "large image": (450_000_000, 1_350_000_000),
}
LARGE = 128  # pixels of a side
MEASURED_CELLS = 5
OF_NO_USE_ONCE_FINISHED = (CHECKPOINT, ASIDE, BETWEEN, lock.NAME)


class Needs(NamedTuple):
    """The needs of a study's unfinished cells: hours of a core and of a GPU, time with parallel jobs, disk."""

    states: Counter[str]
    core_hours: float
    gpu_hours: float
    wall_seconds: float
    bytes_at_the_end: int
    bytes_at_most: int
    measured: bool
    sizes_measured: bool
    unknown: tuple[int, str]  # how many cells cannot run yet, and why the first of them cannot


def needs(states: Mapping[Cell, State], jobs: int) -> Needs:
    """Sum up the needs of the cells that are not finished, with ``jobs`` jobs at a time."""
    pace = Pace(states)
    left = {cell: pace.seconds_left(cell, state) for cell, state in states.items()}
    on_gpu = sum(seconds for cell, seconds in left.items() if pace.on_gpu(cell))
    unfinished = [cell for cell, state in states.items() if state.name not in FINISHED]
    why = [pace.unknown[row_of(cell)] for cell in unfinished if row_of(cell) in pace.unknown]
    size, measured = _cell_sizes(states)
    at_the_end = sum(size[kind(cell)] for cell in unfinished)
    # While a checkpoint is written, the previous one is still there.
    while_training = sorted((2 * SHIPPED_SIZES[kind(cell)][1] for cell in unfinished), reverse=True)[:jobs]
    return Needs(
        Counter(state.name for state in states.values()),
        (sum(left.values()) - on_gpu) / 3600,
        on_gpu / 3600,
        wall_seconds(left.values(), jobs),
        at_the_end,
        at_the_end + sum(while_training),
        pace.measured,
        measured,
        (len(why), why[0] if why else ""),
    )


def kind(cell: Cell) -> str:
    """``2d``, ``image`` or ``large image``."""
    if cell.data.kind != "images":
        return "2d"
    return "large image" if cell.data.event[-1] >= LARGE else "image"


def _cell_sizes(states: Mapping[Cell, State]) -> tuple[dict[str, int], bool]:
    found: dict[str, list[int]] = {}
    for cell, state in states.items():
        sizes = found.setdefault(kind(cell), [])
        if state.name == "done" and len(sizes) < MEASURED_CELLS:
            sizes.append(sum(size_of(Path(entry.path)) for entry in os.scandir(cell.path)))
    mean = {name: SHIPPED_SIZES[name][0] for name in SHIPPED_SIZES}
    mean |= {name: sum(sizes) // len(sizes) for name, sizes in found.items() if sizes}
    return mean, all(found.values())


def describe(study: str, cells: Sequence[Cell], jobs: int) -> list[str]:
    """Describe the plan of a study, line by line."""
    states = of_cells(cells)
    need = needs(states, jobs)
    finished = sum(need.states[name] for name in FINISHED)
    lines = [f"study {study}: {len(cells)} cells, {finished} finished, {len(cells) - finished} left"]
    others = ", ".join(f"{count} {name}" for name, count in need.states.items() if name not in (*FINISHED, "missing"))
    lines += [f"  of these {others}"] if others else []
    lines += [f"  {line}" for line in listed(states, "unreadable")]
    if finished == len(cells):
        return lines
    blocked, why = need.unknown
    if blocked:
        lines.append(f"  cells that cannot run yet, and are not counted below: {blocked}, since {why}")
    if blocked == len(cells) - finished:
        return lines
    source = "learnt from this study's cells" if need.measured else "by shipped measurements: none of this study yet"
    work = {"core hours": need.core_hours, "GPU hours": need.gpu_hours}
    hours = [f"{value:.1f} {name}" for name, value in work.items() if value]
    lines.append(f"  work left: {' and '.join(hours)} ({source})")
    if not need.measured and any(kind(cell) != "2d" for cell in cells):
        lines.append("  the hours of image cells are a rough estimate until one has finished")
    time = duration_in_words(need.wall_seconds)
    lines.append(f"  time with {jobs} jobs at a time: {time}, waiting in queues not counted")
    free = shutil.disk_usage(RESULTS if Path(RESULTS).exists() else ".").free
    source = "as finished cells have" if need.sizes_measured else "by shipped sizes"
    most, kept = size_in_words(need.bytes_at_most), size_in_words(need.bytes_at_the_end)
    lines.append(f"  disk: {most} while it runs, {kept} of it for good ({source}); {size_in_words(free)} free")
    if free < need.bytes_at_most:
        lines.append("  warning: that is more than the disk has free")
    return lines


# --- cleaning


def leftovers(cells: Sequence[Cell]) -> list[Path]:
    """List files that nothing needs: half-written files, and the checkpoints of finished cells.

    Leaves cells alone whose files cannot be read, and names them on stderr.
    """
    states = of_cells(cells)
    for line in listed(states, "unreadable"):
        print(f"left alone: {line}", file=sys.stderr)
    found = []
    for cell, state in states.items():
        folder = Path(cell.path)
        if state.name in ("running", "unreadable") or not folder.is_dir():
            continue
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            finished = state.name in FINISHED and entry.name in OF_NO_USE_ONCE_FINISHED
            if entry.name.startswith(UNFINISHED) or finished:
                found.append(Path(entry.path))
    return found


def everything(study: str, cells: Sequence[Cell]) -> list[Path]:
    """List all folders of a study: results, logs, pages. Raises SintroError while one of its cells trains."""
    going = {cell.path for cell, state in of_cells(cells).items() if state.name == "running"}
    beside = {str(path.parent) for path in Path(RESULTS, study).rglob(lock.NAME) if lock.beating(path.parent)}
    if going := sorted(going | beside):  # a cell need not be in the study's grid
        raise SintroError(
            f"cells of study {study} that are being trained: {len(going)}, as {going[0]}; stop them first"
        )
    folders = [Path(parent, study) for parent in (RESULTS, LOGS, REPORTS)]
    return [folder for folder in folders if folder.exists() or folder.is_symlink()]


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; links are not followed."""
    if path.is_symlink() or path.is_file():
        return path.lstat().st_size
    return sum(size_of(Path(entry.path)) for entry in os.scandir(path))


def remove(paths: Sequence[Path]) -> None:
    """Delete files and folders; of a link only the link. Raises SintroError where the system refuses."""
    for path in paths:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise SintroError(f"cannot delete {path}: {error.strerror}") from error


def sized(paths: Sequence[Path]) -> list[str]:
    """List the paths with their sizes, and the sum."""
    sizes = [size_of(path) for path in paths]
    lines = [f"{size_in_words(size):>8}  {path}" for path, size in zip(paths, sizes, strict=True)]
    return [*lines, f"{size_in_words(sum(sizes)):>8}  in all"]
