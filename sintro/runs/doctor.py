"""``sintro doctor``: check everything a run needs, on this machine and, by a tiny Slurm job, on a compute node."""

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from sintro import __version__
from sintro.basics.progress import size_in_words
from sintro.cells import components
from sintro.cells.cell import RESULTS
from sintro.runs import places

JOB_MINUTES = 5
SECONDS_FOR_DRIVER = 60
SHOWN = 300  # characters of a command's output


class Check(NamedTuple):
    """A row of the report."""

    what: str  # was checked
    state: str  # ok, note (worth knowing) or bad (runs will fail)
    found: str  # the facts in words


def here(data: bool = True) -> list[Check]:
    """Check this machine. ``data``: whether to read and hash all data sets too, which takes seconds."""
    checks = [Check("machine", "ok", f"{platform.node()}, {os.cpu_count()} CPUs, {_memory()}"), _python(), _path()]
    checks += [_torch(), _numba(), _driver(), _results(), _space()]
    return [*checks, *extensions(), *(_data() if data else [])]


def extensions() -> list[Check]:
    """Return a row for each extension file that cannot be read, and one row for all others."""
    broken = components.broken()
    checks = [Check("extension", "bad", error) for error in broken.values()]
    every = [*components.datasets().values(), *components.priors().values(), *components.objectives().values()]
    found = [f"{one.what} {one.name} of {one.source}" for one in every if one.source]
    return [*checks, Check("extensions", "ok", ", ".join(found))] if found else checks


def _python() -> Check:
    right = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check("python", "ok" if right else "bad", f"{platform.python_version()}, sintro {__version__}")


def _path() -> Check:
    """Check whether the workflow can start its jobs from this folder."""
    reason = places.why_no_slurm_job_starts()
    if not reason:
        return Check("path", "ok", f"{Path.cwd()}, {sys.executable}")
    return Check("path", "bad" if shutil.which("sbatch") else "note", reason)


def _memory() -> str:
    try:
        return f"{size_in_words(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))} of memory"
    except (OSError, ValueError):
        return "memory unknown"


def _torch() -> Check:
    try:
        import torch
    except Exception as error:  # a broken installation fails in many ways
        return Check("torch", "bad", f"cannot be imported: {error}")
    if not torch.cuda.is_available():
        built = torch.version.cuda or "no CUDA"
        return Check("torch", "note", f"{torch.__version__} (built with {built}) sees no GPU: cells train on the CPU")
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    try:
        torch.ones(8, device="cuda").sum().item()
    except RuntimeError as error:
        return Check("torch", "bad", f"{torch.__version__} sees {names}, but cannot use it: {error}")
    return Check("torch", "ok", f"{torch.__version__} uses {names}")


def _numba() -> Check:
    try:
        import numba
    except ImportError as error:
        remedy = "mixtures in the plane train more slowly on a processor; run: pip install 'sintro[fast]'"
        return Check("numba", "note", f"{error}: {remedy}")
    return Check("numba", "ok", f"{numba.__version__} compiles the density of mixtures in the plane")


def _driver() -> Check:
    if shutil.which("nvidia-smi") is None:
        return Check("GPU driver", "note", "no nvidia-smi here")
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_FOR_DRIVER, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return Check("GPU driver", "bad", f"nvidia-smi gives no answer: {error}")
    said = " ".join((done.stdout or done.stderr).split())[:SHOWN]
    return Check("GPU driver", "ok" if done.returncode == 0 else "bad", said)


def _results() -> Check:
    folder = Path(RESULTS)
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Check("results", "bad", f"{folder.resolve()} cannot be written to: {error.strerror}")
    return Check("results", "ok", f"{folder.resolve()} can be written to")


def _space() -> Check:
    free = shutil.disk_usage(".").free
    return Check(
        "disk", "ok" if free > 1e9 else "bad", f"{size_in_words(free)} free; sintro plan says how much a study needs"
    )


def _data() -> list[Check]:
    """Return a row per file of image sets, Inception's weights and cached references; missing files share a row."""
    from sintro.data import doctor

    rows: dict[tuple[str, ...], list[doctor.Row]] = {}
    for row in doctor.rows():
        rows.setdefault((row.what, row.state, row.path if row.present else ""), []).append(row)
    checks = []
    for (what, found, _), same in rows.items():
        first = same[0]
        state = "note" if first.command or found == "unverified" else "ok"
        if found in ("wrong", "corrupted", "unreadable"):
            state = "bad"
        more = f" and {len(same) - 1} more" if len(same) > 1 else ""
        told = [f"{found}: {first.path}{more}"]
        told += [f"{first.bytes:,} bytes"] if first.bytes is not None else []
        told += [f"sha256 {first.sha256}"] if first.sha256 else []
        told += [part for part in (first.reason, first.command and f"get it: {first.command}") if part]
        checks.append(Check(what, state, ", ".join(told)))
    return checks


# --- a compute node


def compute_node(gpu: bool) -> list[Check]:
    """Check a compute node by a job of a minute; a single note where there is no Slurm."""
    if shutil.which("srun") is None:
        return [Check("compute node", "note", "no srun here: not a Slurm cluster, or not its login node")]
    name = f".sintro-doctor-{platform.node()}-{os.getpid()}"
    probe = Path(name)  # in the working folder: the job sees the file only if it shares this file system
    try:
        probe.write_text(platform.node())
        return _ask(probe, gpu)
    except OSError as error:
        return [Check("compute node", "bad", f"cannot write {probe.resolve()}: {error.strerror}")]
    finally:
        probe.unlink(missing_ok=True)


def _ask(probe: Path, gpu: bool) -> list[Check]:
    asked = ["--job-name=sintro-doctor", "--ntasks=1", f"--time={JOB_MINUTES}", "--mem=2000M", f"--chdir={Path.cwd()}"]
    asked += ["--gpus=1"] if gpu else []
    for key in ("partition", "account"):
        if value := os.environ.get(f"SBATCH_{key.upper()}"):
            asked.append(f"--{key}={value}")
    command = ["srun", *asked, sys.executable, "-m", "sintro", "doctor", "--probe", str(probe)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * JOB_MINUTES, check=False)
    except subprocess.TimeoutExpired:
        return [
            Check("compute node", "bad", f"the job did not run within {JOB_MINUTES} minutes: {shlex.join(command)}")
        ]
    try:
        return [Check(*check) for check in json.loads(done.stdout.splitlines()[-1])]
    except (ValueError, IndexError, TypeError):
        said = " ".join((done.stderr or done.stdout).split())[-SHOWN:]
        return [Check("compute node", "bad", f"the job failed with exit code {done.returncode}: {said}")]


def answer(probe: str) -> str:
    """Return the checks of the job on the compute node as JSON in one line. ``probe``: the file that it looks for."""
    path = Path(probe)
    shared = path.exists() and path.read_text() != ""
    told = f"{Path.cwd()} is the same as on {path.read_text()}" if shared else f"{path.resolve()} is not there"
    return json.dumps([Check("shared file system", "ok" if shared else "bad", told), *here()])
