"""What the pages of studies show, as plain dictionaries: the templates only lay it out."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from sintro.report.numbers.statistics import compare, holm
from sintro.report.numbers.tables import FORMS, SPREADS, Entry, Key, Measure, Table
from sintro.report.numbers.words import ARROWS, DATASET_NAMES, row_label

SIGNS = {"lower": "↓", "higher": "↑", "half": "→ 0.5", "none": ""}  # beside a column's head

# --- tables


def table_view(table: Table, link: Callable[[Entry], str]) -> dict[str, Any]:
    """A table for the template: heads, and per row and data set the texts of every form and spread.

    ``link`` gives the address of the page behind an entry.
    """
    return {
        "name": table.name,
        "title": table.title,
        "datasets": [{"name": d, "label": DATASET_NAMES[d]} for d in table.datasets],
        "measures": [_measure_view(measure) for measure in table.measures],
        "rows": [_row_view(table, row, link) for row in table.rows],
        "floor": _floor_view(table) if table.floors else None,
        "floor_kind": table.floor_kind,
        "objectives": list(dict.fromkeys(row[0] for row in table.rows)),
        "priors": list(dict.fromkeys(row[1] for row in table.rows)),
        "regularizers": list(dict.fromkeys(row[2] for row in table.rows)),
    }


def _measure_view(measure: Measure) -> dict[str, Any]:
    return {
        "key": measure.published,
        "labels": [measure.label(form) for form in FORMS],
        "forms": [
            {
                "form": form,
                "metric": metric.name,
                "definition": metric.definition,
                "unit": metric.unit or "none",
                "direction": ARROWS[metric.direction],
                "source": metric.source,
            }
            for form in FORMS
            for metric in [measure.metric(form)]
        ],
        "arrows": [SIGNS[measure.metric(form).direction] for form in FORMS],
    }


def variants(texts: Sequence[str]) -> str:
    """The texts of one number joined by bars, an empty one standing for the first of its form: small pages."""
    half = len(texts) // 2
    short = [text if i % half == 0 or text != texts[i - i % half] else "" for i, text in enumerate(texts)]
    short[half] = "" if texts[half] == texts[0] and not any(short[1:half]) else short[half]
    return "|".join(short).rstrip("|")


def _row_view(table: Table, row: Key, link: Callable[[Entry], str]) -> dict[str, Any]:
    cells: list[dict[str, Any]] = []
    for dataset in table.datasets:
        entry = table.entries.get((row, dataset))
        for measure in table.measures:
            texts = [table.text(row, dataset, measure, form, spread) for form in FORMS for spread in SPREADS]
            places = {form: (dataset, measure.published, form) for form in FORMS}
            best = "".join(form[0] for form, place in places.items() if row in table.best[place])
            best += "".join(form[0].upper() for form, place in places.items() if row == table.top.get(place))
            cells.append({"text": texts[0], "variants": variants(texts), "best": best})
        cells.append(
            {
                "count": entry.counted if entry else "",
                "note": entry.note if entry else "",
                "link": link(entry) if entry else None,
                "whole": bool(entry) and entry.states["done"] == len(entry.results),
            }
        )
    return {"objective": row[0], "prior": row[1], "regularizers": row[2], "cells": cells}


def _floor_view(table: Table) -> list[dict[str, str]]:
    cells = []
    for dataset in table.datasets:
        for measure in table.measures:
            texts = [table.floor_text(dataset, measure, form) or "–" for form in FORMS]
            cells.append({"text": texts[0], "variants": variants([t for t in texts for _ in SPREADS])})
        cells.append({"text": "", "variants": ""})
    return cells


def comparisons_view(table: Table, most_rows: int = 40) -> list[dict[str, Any]]:
    """Per data set and measure (published form): every row against the best one, paired over seeds, Holm-corrected."""
    if len(table.rows) > most_rows:
        return []
    blocks = []
    for dataset in table.datasets:
        for measure in table.measures:
            metric, lower = measure.metric("published"), measure.lower_is_better("published")
            values = {
                row: found
                for row in table.rows
                if (row, dataset) in table.entries
                and (found := table.entries[row, dataset].ranked(metric))
                and all(map(math.isfinite, found.values()))
            }
            if lower is None or len(values) < 2:
                continue
            means = {row: sum(found.values()) / len(found) for row, found in values.items()}
            best = (min if lower else max)(means, key=means.get)
            others = [row for row in values if row != best]
            found = [compare(values[row], values[best]) for row in others]
            lines = [
                _comparison_line(row_label(row), c, p, measure.factor("published"))
                for row, c, p in zip(others, found, holm([c.p for c in found]), strict=True)
            ]
            label = measure.label("published") + (", distance from 0.5" if metric.direction == "half" else "")
            head = {"dataset": DATASET_NAMES[dataset], "measure": label, "best": row_label(best)}
            blocks.append(head | {"lines": lines})
    return blocks


def _comparison_line(label: str, c, adjusted: float | None, factor: float) -> dict[str, str]:
    interval = "–" if c.low is None else f"{c.low * factor:.3g} to {c.high * factor:.3g}"
    effect = "–" if c.effect is None else f"{c.effect:.2f} ({c.effect_low:.2f} to {c.effect_high:.2f})"
    return {
        "row": label,
        "n": str(c.n),
        "difference": f"{c.difference * factor:.3g}" if c.n else "–",
        "interval": interval,
        "p": "no test" if adjusted is None else f"{adjusted:.3f}" if adjusted >= 0.001 else "< 0.001",
        "wilcoxon": "n too small" if c.p_wilcoxon is None else f"{c.p_wilcoxon:.3f}",
        "effect": effect,
    }


# --- studies
