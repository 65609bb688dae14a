"""Results that are computed once, kept in a file, and read from then on."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sintro.basics.files import explained, locked

Result = TypeVar("Result")


def kept(path: Path, what: str, read: Callable[[], Result | None], make: Callable[[], Result]) -> Result:
    """Read a result that is kept at ``path``, or make it.

    The process that comes first makes it while the others wait. A damaged file is replaced.

    Args:
        what: the result in words, which begin the error's line.
        read: gives the result, or None where the file is missing or not whole.
        make: computes the result and stores it at ``path``, whole.

    Raises: SintroError where the result cannot be stored.
    """
    found = read()
    if found is None:
        with explained(f"{what} cannot be stored as {path}"), locked(path):
            found = read()  # another process may have made it meanwhile
            if found is None:
                found = make()
    return found
