"""Tables as CSV, LaTeX (booktabs) and Markdown."""

import csv
import io

from sintro.report.numbers.results import STATES
from sintro.report.numbers.tables import FORMS, Table

NOT_DONE = STATES[1:]  # of cells that a mean is not over

FLOORS = {"2d": "floor (a perfect model)", "images": "floor (training images, half against half)"}

EXPORT_COLUMNS = (
    "table", "dataset", "objective", "prior", "regularizers", "note", "form", "metric", "display_scale", "n",
    "expected", *(state.replace(" ", "_") for state in NOT_DONE), "mean", "se_published", "t95_half_width", "min",
    "max", "best",
)  # fmt: skip


def to_csv(table: Table) -> str:
    """Every number of the table in long form, both forms and all spreads, unrounded and unscaled."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(EXPORT_COLUMNS)
    for (row, dataset), entry in table.entries.items():
        states = entry.states
        for measure in table.measures:
            for form in FORMS:
                s = entry.summaries[measure.published, form]
                best = row in table.best[dataset, measure.published, form]
                metric = measure.metric(form)
                note = "; ".join(filter(None, (entry.note, entry.outdated(metric.name))))
                writer.writerow(
                    (table.name, dataset, *row, note, form, metric.name, metric.display_scale, s.n,
                     len(entry.results), *(states[state] for state in NOT_DONE), s.mean, s.published, s.t95,
                     s.low, s.high, int(best))
                )  # fmt: skip
    return buffer.getvalue()


LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "×": r"$\times$", "⁷": r"$^7$", "–": "--", "…": r"\ldots{}"} | {
    c: f"\\{c}" for c in "&%$#_{}"
}


def latex_text(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(LATEX.get(c, c) for c in text).replace("10$^7$", "$10^7$").replace("√", r"$\surd$")


def _plain_rows(table: Table, form: str, bold) -> list[list[str]]:
    """Row labels and numbers as text; ``bold(text)`` marks the best."""
    lines = []
    for row in table.rows:
        line = list(row)
        for dataset in table.datasets:
            entry = table.entries.get((row, dataset))
            for measure in table.measures:
                text = table.text(row, dataset, measure, form, "published")
                line.append((bold if row in table.best[dataset, measure.published, form] else str)(text))
            line.append(" ".join(filter(None, (entry.counted, entry.note))) if entry else "")
        lines.append(line)
    if table.floors:
        line = [FLOORS[table.floor_kind], "", ""]
        for dataset in table.datasets:
            line += [table.floor_text(dataset, measure, form) or "–" for measure in table.measures] + [""]
        lines.append(line)
    return lines


def to_markdown(table: Table, form: str = "published") -> str:
    """The table as Markdown, mean ± as published, best in bold."""
    heads = [f"{d} {m}" for d in table.datasets for m in (*(m.label(form) for m in table.measures), "n")]
    header = ["objective", "prior", "regularizers", *heads]
    lines = [header, ["---"] * 3 + ["---:"] * len(heads), *_plain_rows(table, form, lambda text: f"**{text}**")]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


def to_latex(table: Table, form: str = "published") -> str:
    """The table as a booktabs tabular, mean ± as published, best in bold."""
    width = len(table.measures) + 1
    groups = " & ".join(rf"\multicolumn{{{width}}}{{c}}{{{latex_text(d)}}}" for d in table.datasets)
    rules = " ".join(rf"\cmidrule(lr){{{4 + i * width}-{3 + (i + 1) * width}}}" for i in range(len(table.datasets)))
    labels = [latex_text(m.label(form)) for m in table.measures] + ["n"]
    lines = [
        rf"% needs \usepackage{{booktabs}}; {form} form, mean and population sd / sqrt(n)",
        rf"\begin{{tabular}}{{lll{'r' * (width * len(table.datasets))}}}",
        r"\toprule",
        rf" & & & {groups} \\",
        rules,
        " & ".join(["objective", "prior", "regularizers", *labels * len(table.datasets)]) + r" \\",
        r"\midrule",
    ]
    rows = _plain_rows(table, form, lambda text: f"\0{text}\1")
    for i, line in enumerate(rows):
        if table.floors and i == len(rows) - 1:
            lines.append(r"\midrule")
        text = " & ".join(latex_text(cell) for cell in line) + r" \\"
        lines.append(text.replace("\0", r"\textbf{").replace("\1", "}"))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
