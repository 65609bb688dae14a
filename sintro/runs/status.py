"""``sintro status``: the states of a study's cells, as a table or a live bar. Imports no torch."""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sintro import SintroError
from sintro.basics.progress import duration_in_words
from sintro.cells.cell import Cell
from sintro.runs import processes
from sintro.runs.pace import Pace, Row, row_of, wall_seconds
from sintro.runs.results import FINISHED, OTHER
from sintro.runs.states import State, listed, of_cells
from sintro.runs.stored import in_a_line

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_LINES = 15.0
LARGEST_PID = 2**31 - 1  # of any system
BARS = 10  # cells with a bar of their own; the table below counts all cells
COLUMNS = ("done", "running", "to evaluate", "missing", "diverged", "failed")
RARE = (OTHER, "unreadable")  # a column of these is shown only where there are such cells
COLOURS = {"done": "green", "running": "cyan", "to evaluate": "cyan", "diverged": "yellow"}
COLOURS |= dict.fromkeys(("failed", *RARE), "red")


def name_of(cell: Cell) -> str:
    """Return a cell's name in a line: the axes of the comparison, and the seed."""
    return " ".join((*cell.axes, f"seed{cell.seed}"))


def summary(states: Mapping[Cell, State], pace: Pace) -> Table:
    """Count each row's cells by state, and tell how long the running ones still take."""
    shown = Table("data set", "objective", "prior", "regularizers")
    present = {state.name for state in states.values()}
    columns = [*COLUMNS, *(name for name in RARE if name in present)]
    for name in columns:
        shown.add_column(name, justify="right", style=COLOURS.get(name))
    shown.add_column("running: done, left")
    rows: dict[Row, list[Cell]] = {}
    for cell in states:
        rows.setdefault(row_of(cell), []).append(cell)
    for row, cells in rows.items():
        counts = Counter(states[cell].name for cell in cells)
        now = [cell for cell in cells if states[cell].progress]
        left = [pace.seconds_left(cell, states[cell]) for cell in now]
        share = sum(_share(states[cell]) for cell in now) / max(1, len(now))
        numbers = [str(counts[name] or "") for name in columns]
        shown.add_row(*row[1:], *numbers, f"{share:.0%}, {duration_in_words(max(left))}" if now else "")
    return shown


def details(states: Mapping[Cell, State], pace: Pace) -> list[str]:
    """Return a line for each cell that runs, failed, diverged or cannot be used, up to a number of each kind."""
    lines = listed(states, "running", lambda cell, state: _progress_note(cell, state, pace))
    for name in ("failed", *RARE, "diverged"):
        lines += listed(states, name)
    return lines


def overall(states: Mapping[Cell, State], pace: Pace, at_a_time: int) -> tuple[float, str]:
    """Return the share of the study's work that is done, and a line with the cells done and the time left."""
    counts = Counter(state.name for state in states.values())
    shares = [pace.share(cell, state) for cell, state in states.items()]
    whole = sum(share[1] for share in shares)
    finished = sum(counts[name] for name in FINISHED)
    share = sum(share[0] for share in shares) / whole if whole else finished / max(1, len(states))
    words = f"{finished} of {len(states)} cells"
    if finished < len(states):
        open_cells = [cell for cell, state in states.items() if state.name != "failed"]
        left = wall_seconds((pace.seconds_left(cell, states[cell]) for cell in open_cells), at_a_time)
        source = "" if pace.measured else ", by shipped measurements: none of this study yet"
        words += f", about {duration_in_words(left)} left with {at_a_time} at a time{source}"
    for name in ("failed", *RARE):
        words += f", {counts[name]} {name}" if counts[name] else ""
    return share, words


def show(study: str, cells: Sequence[Cell]) -> None:
    """Print the table, the cells that need attention and the time left."""
    states = of_cells(cells)
    pace = Pace(states)
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(summary(states, pace))
    for line in details(states, pace):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    share, words = overall(states, pace, max(1, sum(bool(state.progress) for state in states.values())))
    console.print(f"study {study}: {share:.0%}, {words}", highlight=False, markup=False)


GoesOn = Callable[[Mapping[Cell, State]], bool]


def watch(study: str, cells: Sequence[Cell], goes_on: GoesOn) -> None:
    """Show live bars and the table until `goes_on` is false; without a terminal, a line every few seconds."""
    console = Console(stderr=True)
    most, last = 1, -SECONDS_BETWEEN_LINES
    with Live(console=console, auto_refresh=False) if console.is_terminal else contextlib.nullcontext() as live:
        while True:
            began = time.monotonic()
            states = of_cells(cells)
            going = goes_on(states)
            pace = Pace(states)
            # The most that ran at once so far: a cell between two steps runs again soon.
            most = max(most, sum(bool(state.progress) for state in states.values()))
            share, words = overall(states, pace, most)
            if live is not None:
                live.update(_living(study, states, pace, share, words), refresh=True)
            elif time.monotonic() - last >= SECONDS_BETWEEN_LINES or not going:
                last = time.monotonic()
                print(_line(study, states, pace, share, words), file=sys.stderr, flush=True)
            if not going:
                return
            time.sleep(max(SECONDS_BETWEEN_LOOKS, 5 * (time.monotonic() - began)))  # large studies less often


def unfinished(states: Mapping[Cell, State]) -> bool:
    """Whether a cell is still to be finished."""
    return any(state.name not in FINISHED for state in states.values())


def while_alive(pid: int) -> GoesOn:
    """Return a test that is true while the process runs.

    Raises SintroError for a number that no process has; 0 and negative numbers stand for groups, which never end.
    """
    if not 1 <= pid <= LARGEST_PID:
        raise SintroError(f"--while {pid}: legal are the numbers of processes, 1 to {LARGEST_PID}")
    return lambda _: processes.runs(pid)


def _share(state: State) -> float:
    progress = state.progress or {}
    return min(1.0, progress.get("done", 0) / max(1, progress.get("total", 1)))


def _progress_note(cell: Cell, state: State, pace: Pace) -> str:
    progress = state.progress or {}
    each = progress.get("ms_per_iteration")
    speed = f", {each:.1f} ms each" if each else ""
    left = duration_in_words(pace.seconds_left(cell, state))
    return f"{progress['done']} of {progress['total']} iterations{speed}, {left} left, on {in_a_line(progress['host'])}"


def _living(study: str, states: Mapping[Cell, State], pace: Pace, share: float, words: str) -> Group:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text(f"study {study}", style="bold"), ProgressBar(100, 100 * share, width=30), words)
    for cell in [cell for cell, state in states.items() if state.progress][:BARS]:
        left = f"{duration_in_words(pace.seconds_left(cell, states[cell]))} left"
        grid.add_row(Text(name_of(cell)), ProgressBar(100, 100 * _share(states[cell]), width=30), left)
    lines: list = [grid]
    for name in ("to evaluate", "failed", *RARE):
        chosen = [cell for cell, state in states.items() if state.name == name][:5]
        lines += [Text(f"{name}: {name_of(cell)}: {states[cell].note}", style=COLOURS[name]) for cell in chosen]
    return Group(*lines, summary(states, pace))


def _line(study: str, states: Mapping[Cell, State], pace: Pace, share: float, words: str) -> str:
    now = [f"{name_of(cell)} {_share(state):.0%}" for cell, state in states.items() if state.progress]
    now += [f"evaluate {name_of(cell)}" for cell, state in states.items() if state.name == "to evaluate"]
    listed = "; ".join(now[:4]) + (f"; and {len(now) - 4} more" if len(now) > 4 else "")
    return f"study {study}: {share:.0%}, {words}" + (f"; now {listed}" if listed else "")
