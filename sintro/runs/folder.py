"""A cell's folder, and what is written down of the machine and the time (docs/design.md, invariant 2)."""

import contextlib
import os
import platform
import resource
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sintro import SintroError, __version__
from sintro.cells.cell import RESULTS, Cell
from sintro.runs.identity import identify

PROVENANCE = "provenance.json"  # with it a cell is trained
HANDED_OVER = "provenance.fleet.json"  # the same, of a cell that a fleet trained, until its own `sintro train` takes it


def cell_folder(cell: Cell) -> Path:
    """The cell's folder under results/ here; one that leads elsewhere by a link is refused."""
    folder = Path(cell.path)
    place = Path(
        os.path.realpath(folder)
    )  # unlike Path.resolve it takes a loop of links, which is told when it is read
    expected = Path(RESULTS).resolve() / folder.relative_to(RESULTS)
    if place != expected:
        raise SintroError(f"{folder} leads to {place} by a link; a cell's folder must lie in {Path(RESULTS).resolve()}")
    return folder


def cell_here(path: str) -> Cell:
    """The cell of a path. Its folder is always the one under results/ here, so another place is refused."""
    cell = Cell.from_path(path)
    given = Path(path).absolute()
    root = given.parents[len(Path(cell.path).parts) - 2]
    if root.resolve() != Path(RESULTS).resolve():
        raise SintroError(
            f"{path!r} lies in {root}, but cells are read and written in ./{RESULTS}: first cd {root.parent}"
        )
    cell_folder(cell)
    return cell


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def this_host() -> str:
    """The name of this machine, as everything that is written down has it."""
    return platform.node()


def environment(device: str, threads: int) -> dict[str, Any]:
    """Where and with what a run is done: code, versions, hardware."""
    import numpy
    import torch

    found = identify() | {
        "version": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "hostname": this_host(),
        "cpu": _processor(),
        "cpus": os.cpu_count(),
        "device": device,
        "threads": threads,
    }
    if device.startswith("cuda"):
        found |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return found


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def peak_memory() -> int:
    """The most memory this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
