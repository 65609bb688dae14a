"""Show the progress of long work: a bar on a terminal, a line now and then in a log."""

import statistics
import sys
import threading
import time
from collections.abc import Sequence

SECONDS_BETWEEN_LINES = 20.0


def duration_in_words(seconds: float) -> str:
    """Write seconds for a reader: 120 s as ``2.0 min``, half a second as ``0.5 s``."""
    if 0 < seconds < 1:
        return f"{seconds:.1f} s"
    for limit, unit, name in ((100, 1, "s"), (100 * 60, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.0f} {name}" if name == "s" or value >= 10 else f"{value:.1f} {name}"
    return f"{seconds / 86400:.1f} days"


def size_in_words(count: float) -> str:
    """Write a number of bytes for a reader: 3,500,000 as ``4 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


class Progress:
    """Show on stderr how many of the ``total`` steps of ``name`` are done, and how long the others will take.

    Use it as a context manager, and call :meth:`update` with the number of steps that are done.
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
        """Show that ``done`` steps are finished."""
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


class Steps:
    """Show on stderr the current step of a piece of work, the time since its start, and an estimate of the time left.

    Use it as a context manager: it shows a bar on a terminal, else a line every 20 seconds; outside of its block it is
    silent. Call :meth:`plan` with the names of all steps, :meth:`begin` at the start of each step, :meth:`part` with
    the progress within a step. The estimate for a step is the duration of the last step of its name in this process,
    else the median of the finished steps.
    """

    seconds_of: dict[str, float] = {}  # noqa: RUF012  the latest of each name, in this process

    def __init__(self, name: str = ""):
        self.name, self.began = name, time.monotonic()
        self.coming: list[str] = []
        self.over: dict[str, float] = {}  # seconds of each finished step
        self.done, self.now, self.since, self.parts = 0, "", self.began, ""
        self.ended = threading.Event()

    def __enter__(self) -> "Steps":
        self.began = self.since = time.monotonic()
        self.shown = self._bar() if sys.stderr.isatty() else threading.Thread(target=self._speak, daemon=True)
        self.shown.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end_step()
        self.ended.set()
        if isinstance(self.shown, threading.Thread):
            self.shown.join()
        else:
            self.shown.stop()

    def plan(self, names: Sequence[str]) -> None:
        """Announce all steps, in their order."""
        self.coming = list(names)

    def begin(self, what: str) -> None:
        """Start a step; the step before ends."""
        self._end_step()
        if what in self.coming:
            self.coming.remove(what)
        self.now, self.parts = what, ""

    def part(self, done: int, total: int) -> None:
        """Show that ``done`` of the ``total`` parts of the current step are finished."""
        self.parts = f"{done:,} of {total:,}" if done < total else ""

    def seconds_left(self) -> float | None:
        """Estimate how many seconds the work still takes; None as long as no step's duration is known."""
        known = [*self.over.values()]
        if not known and self.now not in self.seconds_of:
            return None
        otherwise = statistics.median(known) if known else self.seconds_of[self.now]
        whole = self.seconds_of.get(self.now, otherwise)
        later = sum(self.seconds_of.get(name, otherwise) for name in self.coming)
        return max(0.0, whole - (time.monotonic() - self.since)) + later

    def in_words(self) -> str:
        """Return the current step, its progress and the times, in a line."""
        took = (time.monotonic() - self.began) / 60
        seconds = self.seconds_left()
        left = "" if seconds is None else f", about {seconds / 60:.1f} left"
        parts = f" ({self.parts})" if self.parts else ""
        return f"{self.now}{parts}, {took:.1f} minutes so far{left}"

    def _end_step(self) -> None:
        moment = time.monotonic()
        if self.now:
            self.done += 1
            self.over[self.now] = self.seconds_of[self.now] = moment - self.since
        self.now, self.since = "", moment

    def _place(self) -> str:
        return f"{self.done + 1}/{self.done + 1 + len(self.coming)}"

    def _speak(self) -> None:
        while not self.ended.wait(SECONDS_BETWEEN_LINES):
            if self.now:
                print(f"{self.name}: {self._place()}, {self.in_words()}", file=sys.stderr, flush=True)

    def _bar(self):
        from rich.console import Console
        from rich.progress import BarColumn, ProgressColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.text import Text

        class State(ProgressColumn):
            """The current step, read whenever the bar is drawn."""

            def render(column, task) -> Text:  # noqa: N805  `self` is the steps
                bar.update(task.id, completed=self.done, total=self.done + len(self.coming) + bool(self.now))
                return Text(f"{self._place()}, {self.in_words()}" if self.now else "")

        bar = Bar(TextColumn("{task.description}", markup=False), BarColumn(20), State(), console=Console(stderr=True))
        bar.add_task(self.name, total=None)
        return bar
