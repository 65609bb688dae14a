"""Results that are computed once, kept in a file, and read from then on."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sintro.basics.files import explained, locked

Result = TypeVar("Result")


def kept(path: Path, what: str, read: Callable[[], Result | None], make: Callable[[], Result]) -> Result:
    """Read the result kept at ``path``; else make it, while other processes that want it wait.

    ``read`` returns None for a missing or damaged file, ``make`` stores the result too. Raises SintroError, which calls
    the result ``what``, where it cannot be stored.
    """
    found = read()
    if found is None:
        with explained(f"{what} cannot be stored as {path}"), locked(path):
            found = read()  # another process may have made it meanwhile
            if found is None:
                found = make()
    return found
