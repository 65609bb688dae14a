"""``progress.json``: says who trains a cell and how far it is, and keeps a second process from training it too.

The file is there while a training runs and is written anew every two seconds, so it is the training's heartbeat as
well. One of a process that died on this host is taken over at once; one of another host only after no beat came for a
minute. Imports no torch: ``sintro status`` reads thousands of these. And how a training is asked to stop.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from sintro import PassingError, SintroError
from sintro.basics.files import write_json
from sintro.runs.folder import now, this_host

NAME = "progress.json"
SECONDS_BETWEEN_BEATS = 2.0
SECONDS_UNTIL_OLD = 60.0
SECONDS_BETWEEN_LOOKS = 0.5  # at a folder that another process holds
SECONDS_BETWEEN_WORDS = 60.0  # about what is waited for
SECONDS_OF_PATIENCE = 24 * 3600
MEMORY = 20.0  # seconds over which the pace is averaged


class Progress(BaseModel):
    """What ``progress.json`` must say for others to go by; further keys are kept.

    The bounds are those of process ids, and of whole numbers that a float holds exactly.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    host: str
    pid: int = Field(gt=0, lt=2**31)
    done: int = Field(ge=0, le=2**53)
    total: int = Field(ge=0, le=2**53)
    ms_per_iteration: FiniteFloat | None = Field(None, ge=0)


def this_process() -> dict[str, Any]:
    """What tells this process from every other one: host, process id, and its birth (ids are used again)."""
    return {"host": this_host(), "pid": os.getpid(), "space": _space(), "born": _born(os.getpid())}


def alive(owner: dict[str, Any]) -> bool | None:
    """Whether the process that wrote a progress file still runs; None where that cannot be seen from here."""
    if owner.get("host") != this_host() or owner.get("space") != _space():
        return None
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, so it is there
        pass
    return owner.get("born") == _born(owner["pid"])


def beating(folder: str | Path) -> dict[str, Any] | None:
    """The progress of a training that runs in a folder; None where there is none or its process is gone."""
    path = Path(folder, NAME)
    owner = read(path)
    if not owner:
        return None
    living = alive(owner)
    if living is None:
        with contextlib.suppress(OSError):
            living = abs(time.time() - path.stat().st_mtime) < SECONDS_UNTIL_OLD
    return owner if living else None


def read(path: Path) -> dict[str, Any] | None:
    """A progress file as it was written; None where it is not there.

    {} where it is there but does not say what it should (its writer is just beginning, or it is damaged).
    """
    try:
        found = json.loads(path.read_bytes())
        Progress.model_validate(found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, ValidationError):
        return {}
    return found


def _space() -> str | None:
    """Process ids mean something within one boot of one machine, and within one container."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    return None


def _born(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks since boot."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None


class BusyError(PassingError):
    """Another process trains the cell. It says which, and how far it is: ``owner`` is its progress file."""

    def __init__(self, folder: Path, owner: dict[str, Any]):
        self.folder, self.owner = folder, owner
        done, total = owner.get("done", 0), owner.get("total", "?")
        super().__init__(
            f"{folder} is being trained by {_name(owner)}, after {done} of {total} iterations; "
            "wait for it or stop it first"
        )


class Patience:
    """Waits for processes that train the cells which this one is to train, ``seconds`` in all."""

    def __init__(self, seconds: float = SECONDS_OF_PATIENCE):
        self.until = time.monotonic() + seconds
        self.next_words = 0.0

    def wait(self, busy: BusyError) -> None:
        """Wait a moment before the next look, with a line on stderr now and then; raise ``busy`` where time is up."""
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
    """The lock on a cell's folder, as a context manager; :meth:`beat` writes how far the training is.

    Raises BusyError on entry when another process trains the cell (it names host and process), SintroError when this
    one does already, and PassingError from ``beat`` and :meth:`check` when another one took over because no beat came
    for too long (a laptop that slept).
    """

    def __init__(self, folder: str | Path, total: int, device: str):
        self.path = Path(folder, NAME)
        self.content = this_process() | {"total": total, "device": device, "started": now(), "ms_per_iteration": None}
        self.done, self.last, self.pace = 0, time.monotonic(), None

    def __enter__(self) -> "Lock":
        with _explained(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while not self._create():
                self._take_over()
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def release(self) -> None:
        """The cell is finished, or the training is stopped: others may have the folder."""
        with contextlib.suppress(OSError):
            if self._mine():
                self.path.unlink()

    def begin(self, done: int) -> None:
        """Training starts after ``done`` iterations; the pace is counted from here."""
        self.done, self.last = done, time.monotonic()

    def beat(self, done: int) -> None:
        """``done`` iterations are finished; writes at most every two seconds."""
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
        except SintroError:  # a full disk is no reason to stop; a beat needs no space on it
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def hold(self) -> None:
        """A beat without progress: the cell waits until the others of its fleet are as far."""
        if time.monotonic() - self.last >= SECONDS_BETWEEN_BEATS:
            self.last = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def check(self) -> None:
        """Refuse to go on in a folder that another process has taken over."""
        if not self._mine():
            other = read(self.path) or {}
            raise PassingError(f"{self.path.parent} was taken over by {_name(other)} while this process stood still")

    def _mine(self) -> bool:
        found = read(self.path)
        # Missing or unreadable for a moment is not another's: only a file that names somebody else is.
        return not found or all(found.get(key) == self.content[key] for key in ("host", "pid", "born"))

    def _create(self) -> bool:
        """Make the file, unless there is one."""
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
        """Remove a dead process's file; refuse where its writer lives."""
        owner = read(self.path)
        if owner is None:
            return
        if this_process().items() <= owner.items():
            raise SintroError(f"{self.path.parent} is being trained by this very process; a cell is named once")
        living = alive(owner) if owner else None
        if self._is_fresh() if living is None else living:
            raise BusyError(self.path.parent, owner)
        # Renamed, then looked at: of two that come at once, one may have taken the other's new file, and puts it back.
        aside = self.path.with_name(f".{NAME}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.path, aside)
            if read(aside) == owner:
                print(f"{self.path.parent}: {_name(owner)} is gone, its training is taken over", file=sys.stderr)
                aside.unlink()
            else:
                os.replace(aside, self.path)

    def _is_fresh(self) -> bool:
        """Whether a file whose writer cannot be seen from here was written within the last minute.

        Clocks of two hosts differ, so ages are taken from the file system's clock, and a time to come counts as old.
        """
        try:
            with tempfile.NamedTemporaryFile(dir=self.path.parent) as probe, open(self.path, "rb") as file:
                # Opened anew, so that a network file system asks its server.
                age = (os.fstat(probe.fileno()).st_mtime_ns - os.fstat(file.fileno()).st_mtime_ns) / 1e9
        except FileNotFoundError:
            return False
        return abs(age) < SECONDS_UNTIL_OLD


class StopSignals:
    """Remembers a signal that asks to stop, so that the loop can write a checkpoint after the iteration it is in.

    SIGTERM and SIGUSR1 come from a cluster before it takes a node back, SIGINT from Ctrl-C, SIGHUP from a closed
    terminal. A second Ctrl-C stops at once.
    """

    of_terminals = (signal.SIGINT, signal.SIGHUP)
    signals = (signal.SIGTERM, signal.SIGUSR1, *of_terminals)

    def __init__(self):
        self.caught: str | None = None

    def _remember(self, number, frame) -> None:
        if self.caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.caught = signal.Signals(number).name

    def __enter__(self):
        self.before = {}
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread set them
            for number in self.signals:
                # Under nohup, or behind `&` in a script, those of a terminal are to be ignored.
                if number not in self.of_terminals or signal.getsignal(number) != signal.SIG_IGN:
                    self.before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *exception):
        for number, handler in self.before.items():
            signal.signal(number, handler)


def _name(owner: dict[str, Any] | None) -> str:
    owner = owner or {}
    return f"process {owner.get('pid', '(unknown)')} on {owner.get('host', 'an unknown host')}"


@contextlib.contextmanager
def _explained(path: Path):
    try:
        yield
    except OSError as error:
        raise SintroError(f"cannot write {path}: {error.strerror or error}; nothing was changed") from error
