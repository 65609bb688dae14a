"""A cell's folder: files that are whole or absent, checkpoints, provenance (docs/design.md, invariants 2 and 3)."""

import contextlib
import errno
import io
import json
import math
import os
import platform
import resource
import sys
import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sintro import SintroError, __version__
from sintro.cells import RESULTS, Cell
from sintro.identity import identify

PROVENANCE = "provenance.json"  # with it a cell is trained
HANDED_OVER = "provenance.fleet.json"  # the same, of a cell that a fleet trained, until its own `sintro train` takes it
UNFINISHED = ".unfinished-"  # begins the names of files that are being written


def write_atomic(path: str | Path, data: bytes | str, durable: bool = True) -> None:
    """Writes a whole file or nothing: beside it, to disk, then renamed. A failure leaves the old file as it was.

    What was written is read back and compared before it takes the old file's place. ``durable=False`` leaves out
    both this and waiting for the disk, for files that matter only while a process runs.
    """
    path = Path(path)
    content = data.encode() if isinstance(data, str) else data
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f"{UNFINISHED}{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if durable and Path(temporary).read_bytes() != content:
            raise OSError(errno.EIO, "the disk gives back other bytes than were written")
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes it private; a shared folder is read by colleagues
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise SintroError(
            f"cannot write {path}: {error.strerror or error}; whatever stood there before is still whole"
        ) from error


def remove_unfinished(folder: Path) -> None:
    """Removes what a process that was killed while it wrote left beside a cell's files."""
    for path in folder.glob(".*"):
        if path.name.startswith(UNFINISHED) and path.is_file():
            path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str | Path, value: Any, durable: bool = True) -> None:
    """JSON with sorted keys; numbers that are not finite become the strings "nan", "inf" and "-inf"."""
    write_atomic(path, json.dumps(_finite(value), indent=1, sort_keys=True) + "\n", durable)


def read_json(path: str | Path) -> Any:
    """What :func:`write_json` wrote; a file that is missing or no JSON is one clear line."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SintroError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise SintroError(f"{path} is not whole JSON ({error}); delete it and run its step again") from error


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


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


def save_tensors(path: str | Path, value: Any) -> None:
    """``torch.save``, whole or not at all."""
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    write_atomic(path, buffer.getvalue())


def load_tensors(path: str | Path, remedy: str) -> Any:
    """What :func:`save_tensors` wrote, read without unpickling code. ``remedy`` ends the error line."""
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums it writes
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is damaged")
        return loaded
    except FileNotFoundError as error:
        raise SintroError(f"{path} is missing; {remedy}") from error
    except Exception as error:  # torch raises many kinds for a file that is cut, damaged or hostile
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SintroError(f"{path} cannot be read: truncated, damaged or not ours ({first[:80]}); {remedy}") from error


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
        "hostname": platform.node(),
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
