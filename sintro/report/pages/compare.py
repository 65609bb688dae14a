"""Two results folders compared: as tables on the terminal, as a page and as a CSV file."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sintro.basics.files import write_atomic
from sintro.metrics import METRICS
from sintro.report.numbers import origins
from sintro.report.numbers.compare import Comparison
from sintro.report.numbers.compared_rows import (
    DIFFERS,
    DIVERGED,
    EQUAL,
    EQUIVALENT,
    UNDECIDED,
    UNDEFINED,
    VERDICTS,
    Row,
)
from sintro.report.numbers.exports import as_csv
from sintro.report.numbers.words import ABSENT, dataset_name, plural, row_label, show_number, show_p
from sintro.report.pages.tables import noise_note
from sintro.report.pages.writer import View, render

PAGE, CSV = "compare.html", "compare.csv"
MOST_ON_TERMINAL = 20  # rows of a verdict, and lines of a list
HEADS = ("row", "quantity", "A", "B", "B - A, 95% interval", "n", "test", "p, Holm", "margin", "p of equivalence")
GROUP = ("study", "dataset", "objective", "prior", "regularizers")
MEANING = {
    DIFFERS: "the difference is significant at 5% by Holm's correction over all rows",
    UNDECIDED: "neither a difference nor equivalence is shown: more seeds may tell",
    EQUIVALENT: "no significant difference, and the 90% interval lies in the margin (chance of error: 5% a row)",
    EQUAL: "the same numbers, bit for bit",
}


def write(found: Comparison, out: Path) -> list[Path]:
    """Write the page and the CSV file into the folder -> their paths. Raises SintroError where that cannot be."""
    page, table = out / PAGE, out / CSV
    write_atomic(table, as_csv(long_form(found)))
    write_atomic(page, render("compare.html", PAGE, csv=CSV, **view(found)))
    return [page, table]


def long_form(found: Comparison) -> pd.DataFrame:
    """Lay out every row with all that is known of it, unrounded and unscaled."""
    lines = []
    for row in found.rows:
        known = asdict(row)
        names = dict(zip(GROUP, known.pop("group"), strict=True))
        lines.append(names | known)
    return pd.DataFrame(lines, dtype=object)


# --- what the terminal and the page show


def row_texts(row: Row) -> dict[str, str]:
    """Spell one row, in the unit in which its metric is shown."""
    factor = METRICS[row.metric].display_scale if row.what not in (DIVERGED, UNDEFINED) else 1.0
    difference = _scaled(row.difference, factor)
    if row.low is not None:
        difference += f" ({_scaled(row.low, factor)} to {_scaled(row.high, factor)})"
    study, dataset, *names = row.group
    return {
        "row": f"{study} · {dataset_name(dataset)} · {row_label(names)}",
        "quantity": _quantity(row),
        "a": _scaled(row.mean_a, factor),
        "b": _scaled(row.mean_b, factor),
        "difference": difference,
        "n": _count(row),
        "test": "" if row.is_equal else row.method or "none",
        "p": "" if row.is_equal else show_p(row.adjusted, absent="no test"),
        "margin": "" if row.is_equal else _scaled(row.margin, factor),
        "equivalence": "" if row.is_equal else show_p(row.p_equivalent, absent="no test"),
    }


def _scaled(value: float | None, factor: float) -> str:
    return ABSENT if value is None else show_number(value * factor, 4)


def _quantity(row: Row) -> str:
    if row.what == DIVERGED:
        return row.what
    metric = METRICS[row.metric]
    label = metric.label if metric.unit in ("", "nats") else f"{metric.label}, {metric.unit}"
    return f"{label}: {row.what}" if row.what == UNDEFINED else label


def _count(row: Row) -> str:
    """Say how many seeds were compared, and how many of either side have no value."""
    count = plural(row.seeds_a, "pair") if row.is_paired else f"{row.seeds_a} and {row.seeds_b}"
    if row.lost_a or row.lost_b:
        count += f"; without a value: {row.lost_a} of A, {row.lost_b} of B"
    return count


def view(found: Comparison) -> View:
    """Lay out the page: verdicts, rows by verdict, what differs beside numbers, and what could not be compared."""
    return {
        "sides": [_side(name, tree) for name, tree in (("A", found.a), ("B", found.b))],
        "factor": f"{found.factor:g}",
        "differs": found.differs,
        "verdicts": [
            {"name": name, "meaning": MEANING[name], "rows": list(map(_line, found.of(name)))} for name in VERDICTS
        ],
        "undecided": len(found.of(UNDECIDED)),
        "total": len(found.rows),
        "heads": HEADS,
        "settings": origins.settings_that_differ(found.a, found.b),
        "versions": origins.versions_that_differ(found.a, found.b),
        "unmatched": origins.unmatched(found.a, found.b),
        "unread": origins.unread(found.a, found.b),
        "copies": [(path,) for path in found.copies],
        "one_sided": [(row_label(group), *rest) for group, *rest in found.one_sided],
    }


def _line(row: Row) -> View:
    """Lay out a row: its texts, and for a difference within the measurement noise how large that is."""
    if not row.is_noise:
        return {"texts": row_texts(row), "noise": ""}
    return {"texts": row_texts(row), "noise": noise_note(row.noise * METRICS[row.metric].display_scale)}


def _side(name: str, tree: Any) -> dict[str, str]:
    cells, finished = len(tree.cells), len(tree.finished)
    return {"name": name, "given": tree.given, "counts": f"{finished:,} of {plural(cells, 'cell')} with a result"}


# --- the terminal


def tables(found: Comparison) -> list[Table]:
    """Make the tables for the terminal: verdicts, rows that differ, undecided ones, and what else differs, in short."""
    shown = view(found)
    sides = "; ".join(f"{side['name']}: {side['given']}, {side['counts']}" for side in shown["sides"])
    counts = Table("verdict", "rows", "what it means", title=escape(sides))
    for verdict in shown["verdicts"]:
        counts.add_row(verdict["name"], str(len(verdict["rows"])), verdict["meaning"])
    made = [counts]
    made += [_rows_table(verdict) for verdict in shown["verdicts"] if verdict["name"] in (DIFFERS, UNDECIDED)]
    made += [
        _table("settings that differ", ("name", "A", "B", "pairs of cells"), shown["settings"]),
        _table("versions that differ", ("name", "A", "B", "pairs of cells"), shown["versions"]),
        _table("copies of one run, left out of the tests", ("cell",), shown["copies"]),
        _table("results of one side only", ("cell", "has it", "on the other side"), shown["unmatched"]),
        _table("no result on either side", ("folder", "side", "state"), shown["unread"]),
        _table("metrics that a side lacks", ("row", "metric", "side", "why"), shown["one_sided"]),
    ]
    return [table for table in made if table.row_count]


def _rows_table(verdict: View) -> Table:
    """Make the table of a verdict's rows; a difference within the measurement noise is grey, with a tilde."""
    lines = []
    for line in verdict["rows"]:
        texts = {name: Text(text) for name, text in line["texts"].items()}
        if line["noise"]:
            texts["difference"] = Text(f"{line['texts']['difference']} ~", "bright_black")
        lines.append(list(texts.values()))
    made = _table(verdict["name"], HEADS, lines)
    if any(line["noise"] for line in verdict["rows"][:MOST_ON_TERMINAL]):
        made.caption = "; ".join(filter(None, ("~ smaller than the measurement noise", made.caption)))
    return made


def _table(title: str, heads: Sequence[str], lines: Sequence[Sequence[Any]]) -> Table:
    """Make a table of the first lines, which says how many more there are."""
    rest = len(lines) - MOST_ON_TERMINAL
    caption = f"and {rest:,} more; --out FOLDER writes them all" if rest > 0 else None
    made = Table(*heads, title=title, caption=caption)
    for line in lines[:MOST_ON_TERMINAL]:
        made.add_row(*(text if isinstance(text, Text) else escape(str(text)) for text in line))
    return made
