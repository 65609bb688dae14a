"""How the pages spell numbers, durations, sizes, settings and names."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from sintro.cells import components
from sintro.report.numbers.statistics import Summary

ARROWS = {
    "lower": "lower is better",
    "higher": "higher is better",
    "half": "closer to 0.5 is better",
    "none": "neither low nor high is better",
}
FORM_WORDS = {  # of Metric.form, beside a definition
    "published": "as published",
    "standard": "standard",
    "both": "published and standard alike",
    "mixed": "one published convention, else standard",
}
ABSENT = "–"  # in place of a number that does not exist


def dataset_name(name: str) -> str:
    """Find the name of a data set in tables and figures. Raises SintroError for one that nobody registered."""
    return components.dataset(name).title


def plural(count: int, noun: str) -> str:
    """Count a noun: `1 cell`, `5 cells`."""
    ending = "" if count == 1 else "s"
    return f"{count:,} {noun}{ending}"


def extent(few: int, many: int) -> str:
    """Spell the least and the greatest of some counts: `3`, or `1 to 3`."""
    return f"{few}" if few == many else f"{few} to {many}"


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


def show_setting(value: Any) -> str:
    """Spell the value of a hyper-parameter."""
    if isinstance(value, list | tuple):
        return ", ".join(map(show_setting, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else show_number(value, 6)


def format_summary(summary: Summary, places: int, factor: float = 1.0, spread: str = "published") -> str:
    """Show mean and spread; with one seed there is no spread, and none is shown."""
    if summary.n == 0:
        return ABSENT
    if math.isnan(summary.mean):
        return "NaN"

    def shown(value: float) -> str:
        return f"{value * factor:.{places}f}"

    if summary.n == 1:
        return shown(summary.mean)
    if spread == "range":
        return f"{shown(summary.low)} … {shown(summary.high)}"
    half = summary.published if spread == "published" else summary.t95
    return f"{shown(summary.mean)} ± {shown(half)}"


def decimal_places(summaries: Iterable[Summary], factor: float) -> int:
    """Choose a column's number of decimals: two significant digits of the typical spread, else four of the values."""
    found = [s for s in summaries if s.n and math.isfinite(s.mean)]
    spreads = [s.published * abs(factor) for s in found if s.n > 1 and s.published]
    sizes = [abs(s.mean * factor) for s in found if s.mean]
    if not sizes:
        return 2
    digits = 2 if spreads else 4
    ordered = sorted(spreads or sizes)
    typical = ordered[len(ordered) // 2]
    leading = math.floor(math.log10(typical))  # the place of its first digit
    return min(max(digits - 1 - leading, 0), 6)
