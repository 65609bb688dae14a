"""``progress.json``: says which process trains a cell and how far it is, and keeps other processes from the cell.

The file is there while a training runs. The training writes it anew every two seconds, so the file is its heartbeat as
well. A lock whose process died on this host is taken over at once; a lock of another host only after a minute without
a beat. Imports no torch: ``sintro status`` reads thousands of these files.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from sintro import PassingError, SintroError
from sintro.basics.files import explained, write_json
from sintro.runs import processes
from sintro.runs.folder import now

NAME = "progress.json"
SECONDS_BETWEEN_BEATS = 2.0
SECONDS_UNTIL_OLD = 60.0
SECONDS_BETWEEN_LOOKS = 0.5  # at a folder that another process holds
SECONDS_BETWEEN_WORDS = 60.0  # between two lines on stderr while a process waits
SECONDS_OF_PATIENCE = 24 * 3600
MEMORY = 20.0  # seconds over which the pace is averaged


class Progress(BaseModel):
    """The keys of ``progress.json`` that other processes rely on; further keys are kept.

    Process ids are below 2^31; a float holds every whole number up to 2^53 exactly.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    host: str
    pid: int = Field(gt=0, lt=2**31)
    done: int = Field(ge=0, le=2**53)
    total: int = Field(ge=0, le=2**53)
    ms_per_iteration: FiniteFloat | None = Field(None, ge=0)


def beating(folder: str | Path) -> dict[str, Any] | None:
    """Return the progress of the training in a folder; None where there is none or its process is gone."""
    path = Path(folder, NAME)
    owner = read(path)
    if not owner:
        return None
    living = processes.alive(owner)
    if living is None:
        with contextlib.suppress(OSError):
            living = abs(time.time() - path.stat().st_mtime) < SECONDS_UNTIL_OLD
    return owner if living else None


def read(path: Path) -> dict[str, Any] | None:
    """Read a progress file; None where it is missing, {} where it is damaged or its writer has only just made it."""
    try:
        found = json.loads(path.read_bytes())
        Progress.model_validate(found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, ValidationError):
        return {}
    return found


class BusyError(PassingError):
    """Another process trains the cell; ``owner`` is the content of its progress file."""

    def __init__(self, folder: Path, owner: dict[str, Any]):
        self.folder, self.owner = folder, owner
        done, total = owner.get("done", 0), owner.get("total", "?")
        super().__init__(
            f"{folder} is being trained by {_name(owner)}, after {done} of {total} iterations; "
            "wait for it or stop it first"
        )


class Patience:
    """Waits, ``seconds`` in all, for other processes that train the cells of this one."""

    def __init__(self, seconds: float = SECONDS_OF_PATIENCE):
        self.until = time.monotonic() + seconds
        self.next_words = 0.0

    def wait(self, busy: BusyError) -> None:
        """Wait a moment before the next look, and once a minute say so on stderr; raise ``busy`` where time is up."""
        moment = time.monotonic()
        if moment >= self.until:
            raise busy
        if moment >= self.next_words:
            self.next_words = moment + SECONDS_BETWEEN_WORDS
            at = f"{busy.owner.get('done', 0)}/{busy.owner.get('total', 0)}"
            minutes = (self.until - moment) / 60
            said = f"{busy.folder}: {at}, trained by {_name(busy.owner)}; waiting for it up to {minutes:.0f} minutes"
            print(said, file=sys.stderr, flush=True)
        time.sleep(SECONDS_BETWEEN_LOOKS)


class Lock:
    """The lock on a cell's folder, as a context manager; :meth:`beat` writes the training's progress.

    Entry raises BusyError where another process trains the cell, and SintroError where this process does already.
    :meth:`beat` and :meth:`check` raise PassingError where another process has taken over, because no beat came for too
    long (a laptop that slept).
    """

    def __init__(self, folder: str | Path, total: int, device: str):
        self.path = Path(folder, NAME)
        self.content = processes.this_one() | {
            "total": total,
            "device": device,
            "started": now(),
            "ms_per_iteration": None,
        }
        self.done, self.last, self.pace = 0, time.monotonic(), None

    def __enter__(self) -> "Lock":
        with explained(f"nothing was changed: cannot write {self.path}"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while not self._create():
                self._take_over()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the folder free: the cell is finished, or its training is stopped."""
        with contextlib.suppress(OSError):
            if self._mine():
                self.path.unlink()

    def begin(self, done: int) -> None:
        """Note that training starts after ``done`` iterations; the pace is counted from here."""
        self.done, self.last = done, time.monotonic()

    def beat(self, done: int) -> None:
        """Write that ``done`` iterations are finished, at most every two seconds."""
        seconds = time.monotonic() - self.last
        if seconds < SECONDS_BETWEEN_BEATS or done <= self.done:
            return
        latest = seconds / (done - self.done)
        keep = max(0.0, 1 - seconds / MEMORY) if self.pace else 0.0
        self.pace = latest if not keep else keep * self.pace + (1 - keep) * latest
        self.done, self.last = done, time.monotonic()
        self.check()
        content = self.content | {"done": done, "ms_per_iteration": round(1e3 * self.pace, 3), "updated": now()}
        try:
            write_json(self.path, content, durable=False)
        except SintroError:  # the disk is full: training goes on, and the file's new time is its beat
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def hold(self) -> None:
        """Beat without progress, while the cell waits for the others of its fleet to catch up."""
        if time.monotonic() - self.last >= SECONDS_BETWEEN_BEATS:
            self.last = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def check(self) -> None:
        """Raise PassingError where another process has taken the folder over."""
        if not self._mine():
            other = read(self.path) or {}
            raise PassingError(f"{self.path.parent} was taken over by {_name(other)} while this process stood still")

    def _mine(self) -> bool:
        found = read(self.path)
        # A file may be missing or unreadable for a moment; only a file that names another process is another's.
        return not found or all(found.get(key) == self.content[key] for key in ("host", "pid", "born"))

    def _create(self) -> bool:
        """Make the file. Returns False where there is one already."""
        content = json.dumps(self.content | {"done": 0, "updated": now()}, indent=1, sort_keys=True)
        try:
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(content)
        except OSError:
            self.path.unlink(missing_ok=True)
            raise
        return True

    def _take_over(self) -> None:
        """Remove a dead process's file. Raises BusyError where its writer lives."""
        owner = read(self.path)
        if owner is None:
            return
        if processes.this_one().items() <= owner.items():
            raise SintroError(f"{self.path.parent} is being trained by this very process; a cell is named once")
        living = processes.alive(owner) if owner else None
        if self._is_fresh() if living is None else living:
            raise BusyError(self.path.parent, owner)
        # Rename first, then look: of two processes at once, one may catch the other's new file, and puts it back.
        aside = self.path.with_name(f".{NAME}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.path, aside)
            if read(aside) == owner:
                print(f"{self.path.parent}: {_name(owner)} is gone, its training is taken over", file=sys.stderr)
                aside.unlink()
            else:
                os.replace(aside, self.path)

    def _is_fresh(self) -> bool:
        """Whether the file, whose writer this process cannot see, was written within the last minute.

        Clocks of two hosts differ, so its age is taken by the file system's clock; more than a minute in the future
        counts as old.
        """
        try:
            with tempfile.NamedTemporaryFile(dir=self.path.parent) as probe, open(self.path, "rb") as file:
                # The file is opened anew, so that a network file system asks its server.
                age = (os.fstat(probe.fileno()).st_mtime_ns - os.fstat(file.fileno()).st_mtime_ns) / 1e9
        except FileNotFoundError:
            return False
        return abs(age) < SECONDS_UNTIL_OLD


def _name(owner: dict[str, Any] | None) -> str:
    owner = owner or {}
    return f"process {owner.get('pid', '(unknown)')} on {owner.get('host', 'an unknown host')}"
