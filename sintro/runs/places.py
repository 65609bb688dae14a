"""The paths that the workflow can run from. Imports no torch.

The rules quote the interpreter's path. Snakemake's Slurm job does not: it gives its shell the interpreter's path as it
is, and the Snakefile's folder within double quotes.
"""

import re
import shlex
import shutil
import sys
from pathlib import Path

from sintro.cells.cell import RESULTS, Cell

OPEN_TO_THE_SHELL = re.compile(r"""["'$`\\!]""")  # within double quotes, and in the quotes within them


def why_no_slurm_job_starts(interpreter: str | None = None, folder: str | Path | None = None) -> str:
    """Say in a line why no Slurm job of Snakemake can start from here; "" where one can.

    Args:
        interpreter: the path of the Python that runs Snakemake; this process's own by default.
        folder: the repository; the working folder by default.
    """
    interpreter = sys.executable if interpreter is None else interpreter
    folder = str(Path.cwd() if folder is None else folder)
    advice = "use a path of letters, digits and -_./ only"
    if shlex.quote(interpreter) != interpreter:
        return f"Snakemake starts its Slurm jobs with the Python {interpreter!r} unquoted, so they would fail: {advice}"
    if OPEN_TO_THE_SHELL.search(folder):
        return f"Snakemake's Slurm jobs cannot start in {folder!r}: {advice}"
    if shutil.which("sbatch") is None:
        return "there is no command sbatch here, so no Slurm job can start: run Snakemake where Slurm is installed"
    return ""


def weight(cell: str) -> int:
    """Return how many times as long as small images a cell's jobs may take; ``cell`` is its path below results/."""
    return Cell.from_path(f"{RESULTS}/{cell}").data.weight
