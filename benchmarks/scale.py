"""How planning scales, on study search2d (5,172 cells): a dry run in an empty folder, status and plan with results.

Run as ``python -m benchmarks.scale``; prints one line each: seconds on the clock, seconds of CPU, peak memory.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sintro.cells import studies
from sintro.runs import failures

ROOT = Path(__file__).parents[1]
STUDY = "search2d"
LIMITS = {"dry run": (25.0, 1024), "status": (2.0, 512), "plan": (5.0, 512)}  # seconds, MiB


def measure(name: str, command: list[str], folder: Path) -> None:
    """Run a command in a folder and print what it took."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SINTRO_STUDIES": str(studies.folder().resolve())}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read().decode()
    _, code, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    clock = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if process.returncode:
        sys.exit(f"{' '.join(command)}: {said}")
    seconds, memory = LIMITS[name]
    print(
        f"{name}: {clock:.1f} s on the clock, {cpu:.1f} s of CPU, {usage.ru_maxrss / 1024:.0f} MiB "
        f"(meant to stay under {seconds:g} s and {memory} MiB)",
        flush=True,
    )


def fill(folder: Path) -> None:
    """Write what ``sintro status`` looks at: results of every second cell, failures of every twentieth."""
    for index, cell in enumerate(studies.load(STUDY).cells()):
        place = folder / cell.path
        place.mkdir(parents=True)
        if index % 2 == 0:
            for name in ("cell.json", "history.csv", "model.pt"):
                (place / name).write_text("{}")
            facts = {"status": "done", "digest": studies.settings(cell).digest}
            (place / "metrics.json").write_text(json.dumps(facts))
            (place / "provenance.json").write_text(json.dumps(facts | {"wall_seconds": 400.0, "iterations": 30000}))
        elif index % 20 == 1:
            failures.write(place, "train", "cannot write it: No space left on device")


def main() -> None:
    """Measure everything."""
    python = [sys.executable, "-m"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        snakefile = ["--snakefile", str(ROOT / "Snakefile"), "--directory", name, "--config", f"study={STUDY}"]
        # Snakemake reads the study files beside its own working directory first.
        measure("dry run", [*python, "snakemake", "--cores", "8", "--dry-run", "--quiet", *snakefile], folder)
        fill(folder)
        measure("status", [*python, "sintro", "status", STUDY], folder)
        measure("plan", [*python, "sintro", "plan", STUDY], folder)


if __name__ == "__main__":
    main()
