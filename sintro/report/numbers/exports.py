"""Tables as CSV, LaTeX (booktabs) and Markdown."""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from sintro.report.numbers.tables import Entry, Key, Measure, Table
from sintro.report.numbers.words import ABSENT
from sintro.runs.results import STATES

NOT_DONE = STATES[1:]  # of cells that a mean is not over

FLOORS = {
    "2d": "floor (a perfect model)",
    "images": "floor (training images, half against half)",
    "checks": "floor (each check's own)",
}

NOISE = "measurement noise (sd of one model's number)"

EXPORT_COLUMNS = (
    "table",
    "dataset",
    "objective",
    "prior",
    "regularizers",
    "note",
    "form",
    "metric",
    "display_scale",
    "n",
    "expected",
    *(state.replace(" ", "_") for state in NOT_DONE),
    "mean",
    "se_published",
    "t95_half_width",
    "min",
    "max",
    "best",
    "measurement_noise",
)


def as_csv(frame: pd.DataFrame) -> str:
    """Write a frame with every digit: NaN as `nan`, a number that does not exist as an empty field."""

    def written(value: Any) -> Any:
        return "nan" if isinstance(value, float) and math.isnan(value) else value

    return frame.astype(object).map(written).to_csv(index=False, lineterminator="\n")


def long_form(table: Table) -> pd.DataFrame:
    """Lay out every number of the table in long form: all forms and spreads, unrounded and unscaled."""
    lines = [
        _line(table, row, dataset, entry, measure, form)
        for (row, dataset), entry in table.entries.items()
        for measure in table.measures
        for form in measure.forms
    ]
    # One number at a time, as it is: pandas would make floats of whole numbers beside which one is absent.
    return pd.DataFrame(lines, columns=EXPORT_COLUMNS, dtype=object)


def _line(table: Table, row: Key, dataset: str, entry: Entry, measure: Measure, form: str) -> tuple:
    """Lay out one number of the table in the order of EXPORT_COLUMNS."""
    metric = measure.metric(form)
    summary = entry.summaries[measure.published, form]
    notes = filter(None, (entry.note, entry.why_not(metric.name)))
    place = (table.name, dataset, *row, "; ".join(notes))
    measured = (metric.form, metric.name, metric.display_scale)
    absent = [entry.states[state] for state in NOT_DONE]
    counts = (summary.n, len(entry.results), *absent)
    numbers = (summary.mean, summary.published, summary.t95, summary.low, summary.high)
    best = row in table.best[dataset, measure.published, form]
    noise = table.noise.get(dataset, {}).get(metric.name)
    return (*place, *measured, *counts, *numbers, int(best), noise)


def to_csv(table: Table) -> str:
    """Write the table's long form as CSV."""
    return as_csv(long_form(table))


LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "×": r"$\times$", "⁷": r"$^7$", "–": "--", "…": r"\ldots{}"} | {
    character: f"\\{character}" for character in "&%$#_{}"
}


def latex_text(text: str) -> str:
    """Escape LaTeX's special characters."""
    escaped = "".join(LATEX.get(character, character) for character in text)
    return escaped.replace("10$^7$", "$10^7$").replace("√", r"$\surd$")


def _plain_rows(table: Table, form: str, bold: Callable[[str], str]) -> list[list[str]]:
    """Lay out row labels and numbers as text; ``bold(text)`` marks the best."""
    lines = []
    for row in table.rows:
        line = list(row)
        for dataset in table.datasets:
            entry = table.entries.get((row, dataset))
            line += _numbers(table, row, dataset, form, bold)
            line.append(" ".join(filter(None, (entry.counted, entry.note))) if entry else "")
        lines.append(line)
    return lines + _foot_rows(table, form)


def _numbers(table: Table, row: Key, dataset: str, form: str, bold: Callable[[str], str]) -> list[str]:
    """Spell the numbers of one row on one data set."""
    texts = []
    for measure in table.measures:
        text = table.text(row, dataset, measure, form, "published")
        best = row in table.best[dataset, measure.published, form]
        texts.append(bold(text) if best else text)
    return texts


def _foot_rows(table: Table, form: str) -> list[list[str]]:
    """Lay out the last rows: the floors, and the measurement noise."""
    lines = []
    if table.floors:
        lines.append(_foot_row(table, form, FLOORS[table.floor_kind], table.floor_text))
    if table.noise:
        lines.append(_foot_row(table, form, NOISE, table.noise_text))
    return lines


def _foot_row(table: Table, form: str, head: str, text_of: Callable[[str, Measure, str], str]) -> list[str]:
    line = [head, "", ""]
    for dataset in table.datasets:
        line += [text_of(dataset, measure, form) or ABSENT for measure in table.measures]
        line.append("")  # nothing is counted
    return line


def to_markdown(table: Table, form: str = "published") -> str:
    """Write the table as Markdown, mean ± as published, best in bold."""
    labels = [*(measure.label(form) for measure in table.measures), "n"]
    heads = [f"{dataset} {label}" for dataset in table.datasets for label in labels]
    header = ["objective", "prior", "regularizers", *heads]
    ruler = ["---"] * 3 + ["---:"] * len(heads)
    rows = _plain_rows(table, form, lambda text: f"**{text}**")
    lines = [header, ruler, *rows]
    return "".join(map(_markdown_line, lines))


def _markdown_line(cells: list[str]) -> str:
    escaped = [cell.replace("|", r"\|") for cell in cells]
    return "| " + " | ".join(escaped) + " |\n"


def to_latex(table: Table, form: str = "published") -> str:
    """Write the table as a booktabs tabular, mean ± as published, best in bold."""
    lines = _latex_head(table, form)
    # Marks that no text holds stand for the command's braces, which would be escaped.
    rows = _plain_rows(table, form, lambda text: f"\0{text}\1")
    for i, line in enumerate(rows):
        if i == len(table.rows):
            lines.append(r"\midrule")
        text = " & ".join(latex_text(cell) for cell in line) + r" \\"
        lines.append(text.replace("\0", r"\textbf{").replace("\1", "}"))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_head(table: Table, form: str) -> list[str]:
    """Lay out the lines above the first row."""
    which = f"{form} form, " if len(table.forms) > 1 else ""
    width = len(table.measures) + 1  # columns of a data set
    groups, rules = [], []
    for i, dataset in enumerate(table.datasets):
        first, last = 4 + i * width, 3 + (i + 1) * width
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{latex_text(dataset)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{last}}}")
    labels = [*(latex_text(measure.label(form)) for measure in table.measures), "n"]
    heads = ["objective", "prior", "regularizers", *labels * len(table.datasets)]
    alignment = "lll" + "r" * (width * len(table.datasets))
    return [
        rf"% needs \usepackage{{booktabs}}; {which}mean and population sd / sqrt(n)",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        rf" & & & {' & '.join(groups)} \\",
        " ".join(rules),
        " & ".join(heads) + r" \\",
        r"\midrule",
    ]
