"""A cell's folder, and the machine and the time as files record them (docs/design.md, invariant 2)."""

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
from sintro.runs.loading import version_of

PROVENANCE = "provenance.json"  # is there once a cell is trained
HANDED_OVER = "provenance.fleet.json"  # its name after a fleet, until the cell's own `sintro train` renames it


def cell_folder(cell: Cell) -> Path:
    """Return the cell's folder under ./results. Raises SintroError where it leads elsewhere by a link, or nowhere."""
    folder = Path(cell.path)
    if link := broken_link(Path(RESULTS)):
        raise SintroError(link)
    place = Path(
        os.path.realpath(folder)
    )  # unlike Path.resolve it bears a loop of links; reading the folder reports it
    expected = Path(RESULTS).resolve() / folder.relative_to(RESULTS)
    if place != expected:
        raise SintroError(f"{folder} leads to {place} by a link; a cell's folder must lie in {Path(RESULTS).resolve()}")
    return folder


def broken_link(place: Path) -> str:
    """Say that a place leads by a link where nothing is, perhaps a disk that is not mounted; "" where it does not."""
    if os.path.islink(place) and not os.path.exists(place):
        return f"{place} leads to {os.readlink(place)} by a link, where nothing is"
    return ""


def cell_here(path: str) -> Cell:
    """Return the cell of a path. Raises SintroError where the path does not lie in ./results."""
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
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def this_host() -> str:
    """Return the name of this machine, as all files record it."""
    return platform.node()


def environment(device: str, threads: int) -> dict[str, Any]:
    """Describe a run's code, versions and hardware, for its provenance."""
    import numpy
    import torch

    found = identify() | {
        "version": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "numba": version_of("numba"),
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
    """Return the most memory that this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
