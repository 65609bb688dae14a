"""The one spelling of every number in a path, and suggestions for misspelt words."""

import difflib
import re
from collections.abc import Iterable
from decimal import Decimal

from sintro import SintroError


def suggestion(word: str, legal: Iterable[str]) -> str:
    """Return `; did you mean 'rings'?` for a word near a legal one, else ""."""
    near = difflib.get_close_matches(str(word), list(legal), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def spell(value: float) -> str:
    """Spell a positive decimal as paths do: 0.05, 1, 256; never 1.0, .5 or 1e-3."""
    text = format(Decimal(repr(float(value))), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def decimal(text: str, what: str) -> float:
    """Read a positive decimal in its one spelling; ``what`` names it in errors. Raises SintroError."""
    # The sign is read here so that a negative weight is called by its name, not "malformed".
    if not re.fullmatch(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)", text):
        raise SintroError(f"{what} {text!r} is not a positive decimal such as 0.05, 1 or 256")
    value = float(text)
    if not 0 < value < float("inf"):
        raise SintroError(f"{what} {text} is not positive" if value <= 0 else f"{what} {text} is too large")
    if text != spell(value):
        raise SintroError(f"{what} {text} must be written {spell(value)}: every number has one spelling in a path")
    return value


def whole(text: str, what: str) -> int:
    """Read a whole number in its one spelling; ``what`` names it in errors. Raises SintroError."""
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise SintroError(f"{what} {text!r} is not a whole number")
    if text != str(int(text)):
        raise SintroError(f"{what} {text} must be written {int(text)}: every number has one spelling in a path")
    return int(text)
