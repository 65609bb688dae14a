"""``make demo``: run a study through Snakemake, while a bar shows the running cells and the time left.

Run as ``python -m sintro.runs.demo [STUDY] [CORES]``. Snakemake's own output goes to a log.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from sintro import SintroError
from sintro.basics.output import print_error, print_whatever_comes
from sintro.cells import studies
from sintro.runs import failures, status

PAGE = Path("reports/index.html")
SECONDS_TO_STOP = 10.0
LINES = 30  # of Snakemake's output that are shown where it fails


def run(study: str, cores: str) -> int:
    """Run a study to its pages. Returns Snakemake's exit code, or 130 after an interrupt."""
    cells = studies.load(study).cells()
    log = Path("logs", f"demo-{study}.log")
    log.parent.mkdir(exist_ok=True)
    arguments = ["--cores", cores, "--config", f"study={study}"]
    print(f"snakemake {shlex.join(arguments)}   (its output: {log})", file=sys.stderr)
    with log.open("w") as output:
        snakemake = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments], stdout=output, stderr=subprocess.STDOUT
        )
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            status.watch(study, cells, lambda _: snakemake.poll() is None)
        except KeyboardInterrupt:
            print("stopping: the jobs write their checkpoints", file=sys.stderr)
            with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C: Snakemake heard it as well
                _stop(snakemake)
            print("stopped; the same command goes on from here", file=sys.stderr)
            return 130
        finally:
            signal.signal(signal.SIGTERM, before)
    if snakemake.returncode:
        print("".join(log.read_text(errors="replace").splitlines(keepends=True)[-LINES:]), file=sys.stderr)
        print(f"error: snakemake ended with exit code {snakemake.returncode}; all it said: {log}", file=sys.stderr)
        return snakemake.returncode
    print(f"Done. The page: {PAGE.absolute().as_uri()}")
    return 0


def _stop(snakemake: subprocess.Popen) -> None:
    """Wait until Snakemake has stopped its jobs, which write their checkpoints.

    Ctrl-C in a terminal reaches Snakemake as well. If Snakemake goes on, the signal came to this process alone, which
    passes it on.
    """
    for number in (None, signal.SIGINT, signal.SIGTERM):
        if number is not None:
            for process in (*_children(snakemake.pid), snakemake.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            snakemake.wait(SECONDS_TO_STOP)
            return


def _children(pid: int) -> list[int]:
    """List the processes below a process, the deepest first."""
    below = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            below += map(int, (task / "children").read_text().split())
    return [*(deeper for child in below for deeper in _children(child)), *below]


def main() -> int:
    """Read the command line and run the study. Returns the exit code."""
    print_whatever_comes()
    given = sys.argv[1:]
    if len(given) > 2:
        return print_error(f"{given[2]!r} is too much; legal is: python -m sintro.runs.demo [STUDY] [CORES]")
    study, cores = (*given, *("quick", "all")[len(given) :])
    try:
        return run(study, cores)
    except (SintroError, OSError) as error:
        return print_error(failures.in_words(error))


if __name__ == "__main__":
    sys.exit(main())
