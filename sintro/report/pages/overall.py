"""What the pages show of the aggregates over data sets: texts for the template, which only lays them out."""

import math
from collections.abc import Sequence

from sintro.report.numbers.aggregates import Estimate
from sintro.report.numbers.overall import Line, Overall
from sintro.report.numbers.words import ABSENT, dataset_name, row_label
from sintro.report.pages.writer import View


def overall_views(found: Sequence[Overall]) -> list[View]:
    """Lay out every measure, its rows by their interquartile mean, the best first."""
    return [_view(one) for one in found]


def _view(one: Overall) -> View:
    ordered = sorted(one.lines, key=lambda line: math.inf if line.iqm is None else line.iqm.value)
    left_out = [f"{dataset_name(name)} ({why})" for name, why in one.left_out.items()]
    return {
        "label": one.label,
        "datasets": ", ".join(map(dataset_name, one.datasets)),
        "left_out": "; ".join(left_out),
        "lines": [_line_view(line) for line in ordered],
    }


def _line_view(line: Line) -> View:
    notes = [f"{line.lost} diverged or undefined"] if line.lost else []
    if line.lacks:
        notes.append(f"no number on {', '.join(map(dataset_name, line.lacks))}")
    return {
        "label": row_label(line.row),
        "runs": f"{line.runs} ({line.fewest} or more a data set)" if line.runs else "0",
        "notes": ", ".join(notes),
        "numbers": [_text(each) for each in (line.iqm, line.over_vae, line.over_best)],
    }


def _text(found: Estimate | None) -> str:
    """Spell a number and its interval: `0.42 (0.31 to 0.55)`."""
    if found is None:
        return ABSENT
    value = _number(found.value)
    return value if found.low is None else f"{value} ({_number(found.low)} to {_number(found.high)})"


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "∞"
