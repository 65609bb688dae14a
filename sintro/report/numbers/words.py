"""How the pages spell numbers, durations, sizes, settings and names."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from sintro.cells import components

ARROWS = {
    "lower": "lower is better",
    "higher": "higher is better",
    "half": "closer to 0.5 is better",
    "none": "neither low nor high is better",
}
ABSENT = "–"  # in place of a number that does not exist


def dataset_name(name: str) -> str:
    """Find the name of a data set in tables and figures. Raises SintroError for one that nobody registered."""
    return components.dataset(name).title


def plural(count: int, noun: str) -> str:
    """Count a noun: `1 cell`, `5 cells`."""
    ending = "" if count == 1 else "s"
    return f"{count:,} {noun}{ending}"


def row_label(row: Sequence[str]) -> str:
    """Name a table row in one line: objective, prior, and the regularizers unless there are none."""
    return " · ".join(part for part in row if part != "none")


def is_number(value: Any) -> bool:
    """Tell whether the value is an int or a float; a bool is neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def show_number(value: Any, digits: int = 5) -> str:
    """Spell a number for reading; NaN and infinities by their names, None as a dash."""
    if value is None:
        return ABSENT
    if not is_number(value):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}g}"


def show_p(value: float | None, absent: str) -> str:
    """Spell a p-value with three decimals; ``absent`` where there was no test."""
    if value is None:
        return absent
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def show_in(spell: Callable[[float], str], value: Any) -> str:
    """Spell a duration or a size by the function given; a dash for what is no finite number."""
    return spell(value) if is_number(value) and math.isfinite(value) else ABSENT


def show_setting(value: Any) -> str:
    """Spell the value of a hyper-parameter."""
    if isinstance(value, list | tuple):
        return ", ".join(map(show_setting, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else show_number(value, 6)
