"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import io
import sys
import time

SECONDS_BETWEEN_LINES = 20.0


def print_whatever_comes() -> None:
    """Replace the characters that the terminal's encoding lacks, instead of an error: a title may hold any."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


class Progress:
    """Counts ``total`` steps of ``name``; says on stderr how far it is and how long it still takes.

    Use as a context manager; call :meth:`update` with the number of steps done.
    """

    def __init__(self, name: str, total: int, start: int = 0):
        self.name, self.total, self.start = name, total, start
        self.began = self.last = time.monotonic()
        self.bar = None

    def __enter__(self) -> "Progress":
        self.began = self.last = time.monotonic()
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self.bar = Bar(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True))
            self.task = self.bar.add_task(self.name, total=self.total, completed=self.start)
            self.bar.start()
        return self

    def __exit__(self, *exception) -> None:
        if self.bar is not None:
            self.bar.stop()

    def update(self, done: int) -> None:
        """``done`` steps of the total are finished."""
        if self.bar is not None:
            self.bar.update(self.task, completed=done)
            return
        moment = time.monotonic()
        if moment - self.last >= SECONDS_BETWEEN_LINES or done == self.total:
            self.last = moment
            pace = (moment - self.began) / max(1, done - self.start)
            left = pace * (self.total - done)
            print(
                f"{self.name}: {done}/{self.total}, {pace * 1e3:.1f} ms each, {left / 60:.1f} minutes left",
                file=sys.stderr,
                flush=True,
            )
