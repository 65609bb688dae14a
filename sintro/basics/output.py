"""What a command prints: tables, errors in one line, and output that cannot be printed."""

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

LONGEST_WORD = 300  # characters of a word that an error repeats whole


def print_whatever_comes() -> None:
    """Print a replacement for each character that the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def print_error(message: str, code: int = 2) -> int:
    """Print an error as one line on stderr, with long words cut short; return the exit code."""
    words = [
        word if len(word) <= LONGEST_WORD else f"{word[:80]}... ({len(word)} characters)" for word in message.split()
    ]
    print(f"error: {' '.join(words)}", file=sys.stderr)
    return code


def print_table(table: "Table") -> None:
    """Print a table; outside of a terminal it is as wide as it needs."""
    from rich.console import Console

    console = Console()
    (console if console.is_terminal else Console(width=240)).print(table)


def drop_output() -> None:
    """Send output that cannot be printed to nowhere, so that Python does not fail on it again when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
