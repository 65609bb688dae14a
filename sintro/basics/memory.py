"""How the C library keeps the memory of a process that trains or evaluates."""

import os
import sys

TUNABLES = {
    "hugetlb": 1,  # ask the kernel for huge pages
    "mmap_threshold": 16 << 20,  # bytes; a larger block goes back to the system as soon as it is free
    "trim_threshold": 4 << 30,  # bytes; less free memory than this at the heap's end stays for the next iteration
}


def keep_memory() -> None:
    """Start this process anew, once, with settings of glibc's allocator that save page faults; bits do not change.

    Otherwise an iteration gives its memory back and faults it in again, 4 KiB at a time (docs/speed.md). glibc reads
    its settings before Python starts. ``GLIBC_TUNABLES`` that the user has set stays as it is; other C libraries have
    no such settings.
    """
    if "GLIBC_TUNABLES" in os.environ or not sys.executable or not has_glibc():
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(f"glibc.malloc.{name}={value}" for name, value in TUNABLES.items())
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def has_glibc() -> bool:
    """Whether the C library is glibc."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):
        return False
