"""Processes: which one this is, and whether another one still runs. Imports no torch."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sintro.runs.folder import this_host

STATE, BORN = 0, 19  # places in the words of :func:`_words`


def this_one() -> dict[str, Any]:
    """Return what tells this process from every other one: host, process id, and birth (ids are used again)."""
    return {"host": this_host(), "pid": os.getpid(), "space": _space(), "born": _born(os.getpid())}


def alive(owner: Mapping[str, Any]) -> bool | None:
    """Whether the process that :func:`this_one` described still runs; None where this process cannot see that."""
    if owner.get("host") != this_host() or owner.get("space") != _space():
        return None
    return exists(owner["pid"]) and owner.get("born") == _born(owner["pid"])


def runs(pid: int) -> bool:
    """Whether a process of this machine runs; one that has ended but was not waited for has ended."""
    return exists(pid) and _words(pid)[STATE : STATE + 1] != ["Z"]


def exists(pid: int) -> bool:
    """Whether the system knows a process of this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it belongs to somebody else, so it is there
        return True
    return True


def _space() -> str | None:
    """Where process ids are unique: one boot of one machine, one container. None where the system does not say."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    return None


def _born(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks since boot; None where the system does not say."""
    return next(iter(_words(pid)[BORN : BORN + 1]), None)


def _words(pid: int) -> list[str]:
    """The words of ``/proc/PID/stat`` behind the command's name; none where the file cannot be read."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []
