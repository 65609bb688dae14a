"""What the pages of studies show of a table, as plain dictionaries: the template only lays it out."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from sintro.metrics import METRICS, noise
from sintro.metrics.definitions_images import CHECKS_WITH_FLOORS, FLOORS
from sintro.report.numbers.statistics import Comparison, compare, holm
from sintro.report.numbers.tables import FORMS, SPREADS, Entry, Key, Measure, Table
from sintro.report.numbers.words import ABSENT, ARROWS, FORM_WORDS, dataset_name, row_label, show_number, show_p
from sintro.report.pages.writer import View

SIGNS = {"lower": "↓", "higher": "↑", "half": "→ 0.5", "none": ""}  # beside a column's head
MOST_COMPARED = 40  # rows
SHOWN_AT_ONCE = 50  # rows: a browser takes seconds to lay out a thousand


def table_view(table: Table, link: Callable[[Entry], str]) -> View:
    """Lay a table out for the template: heads, and per row and data set the texts of every form and spread.

    ``link`` gives the address of the page behind an entry.
    """
    objectives, priors, regularizers = zip(*table.rows, strict=True)
    rows = [_row_view(table, row, link) for row in table.rows]
    return {
        "name": table.name,
        "title": table.title,
        "datasets": [{"name": dataset, "label": dataset_name(dataset)} for dataset in table.datasets],
        "forms": table.forms,
        "measures": [_measure_view(measure) for measure in table.measures],
        "rows": rows[:SHOWN_AT_ONCE],
        "more": rows[SHOWN_AT_ONCE:],
        "floor": _foot_view(table, table.floor_text) if table.floors else None,
        "noise": _foot_view(table, table.noise_text) if table.noise else None,
        "floor_kind": table.floor_kind,
        "check_floors": [METRICS[FLOORS[check]] for check in CHECKS_WITH_FLOORS],
        "reading": table.reading,
        "objectives": list(dict.fromkeys(objectives)),
        "priors": list(dict.fromkeys(priors)),
        "regularizers": list(dict.fromkeys(regularizers)),
    }


def _measure_view(measure: Measure) -> View:
    """Lay out a column's head and what each of its forms means."""
    forms = []
    for form in measure.forms:
        metric = measure.metric(form)
        meaning = {
            "form": form,
            "said": FORM_WORDS[metric.form],
            "metric": metric.name,
            "definition": metric.definition,
            "unit": metric.unit or "none",
            "direction": ARROWS[metric.direction],
            "source": metric.source,
        }
        forms.append(meaning)
    return {
        "key": measure.published,
        "labels": [measure.label(form) for form in FORMS],
        "forms": forms,
        "arrows": [SIGNS[measure.metric(form).direction] for form in FORMS],
    }


def variants(texts: Sequence[str]) -> str:
    """Join the texts of one number by bars, the spreads of the published form before those of the standard one.

    An empty text stands for the first of its form, and an empty first one of the standard form for the published one:
    so pages stay small.
    """
    half = len(texts) // 2
    published, standard = _shortened(texts[:half]), _shortened(texts[half:])
    if texts[half] == texts[0] and not any(published[1:]):
        standard[0] = ""
    return "|".join([*published, *standard]).rstrip("|")


def _shortened(texts: Sequence[str]) -> list[str]:
    """Empty every text that repeats the first."""
    first, *others = texts
    shorter = ["" if text == first else text for text in others]
    return [first, *shorter]


def _row_view(table: Table, row: Key, link: Callable[[Entry], str]) -> View:
    """Lay out a row: per data set its numbers, then how many seeds they are over."""
    cells: list[View] = []
    for dataset in table.datasets:
        cells += [_number_view(table, row, dataset, measure) for measure in table.measures]
        entry = table.entries.get((row, dataset))
        cells.append(_count_view(entry, link))
    objective, prior, regularizers = row
    return {"objective": objective, "prior": prior, "regularizers": regularizers, "cells": cells}


def _number_view(table: Table, row: Key, dataset: str, measure: Measure) -> View:
    """Lay out one number: its texts, and the forms in which it is among the best (small) or the best (capital)."""
    texts = [table.text(row, dataset, measure, form, spread) for form in FORMS for spread in SPREADS]
    best, top = "", ""
    for form in FORMS:
        place = (dataset, measure.published, form)
        letter = form[0]
        if row in table.best[place]:
            best += letter
        if row == table.top.get(place):
            top += letter.upper()
    return {"text": texts[0], "variants": variants(texts), "best": best + top}


def _count_view(entry: Entry | None, link: Callable[[Entry], str]) -> View:
    """Lay out how many seeds the numbers of a row and data set are over."""
    if entry is None:
        return {"count": "", "note": "", "link": None, "whole": False}
    is_whole = entry.states["done"] == len(entry.results)
    archived = sum(bool(result.archived) for result in entry.results)
    notes = [entry.note, f"({archived} archived)" if archived else ""]
    return {"count": entry.counted, "note": " ".join(filter(None, notes)), "link": link(entry), "whole": is_whole}


def _foot_view(table: Table, text_of: Callable[[str, Measure, str], str]) -> list[dict[str, str]]:
    """Lay out a row below the table; ``text_of`` spells its number of a data set, measure and form."""
    cells = []
    for dataset in table.datasets:
        for measure in table.measures:
            texts = [text_of(dataset, measure, form) or ABSENT for form in FORMS]
            every_spread = [text for text in texts for _ in SPREADS]
            cells.append({"text": texts[0], "variants": variants(every_spread)})
        cells.append({"text": "", "variants": ""})  # nothing is counted
    return cells


# --- comparisons


def noise_note(deviation: float) -> str:
    """Say that a difference is smaller than the measurement noise, a deviation in the unit shown."""
    return f"smaller than the measurement noise, {show_number(deviation, 2)}"


def comparisons_view(table: Table) -> list[View]:
    """Compare every row with the best one, per data set and measure (published form), paired and Holm-corrected."""
    if len(table.rows) > MOST_COMPARED:
        return []
    blocks = [_comparison(table, dataset, measure) for dataset in table.datasets for measure in table.measures]
    return [block for block in blocks if block is not None]


def _comparison(table: Table, dataset: str, measure: Measure) -> View | None:
    """Compare the rows of one column with the best; None where there is no best, or nothing to compare it with."""
    metric, best = measure.metric("published"), table.top.get((dataset, measure.published, "published"))
    ranked = {row: entry.ranked(metric) for row, entry in table.peers(dataset).items()}
    values = {row: found for row, found in ranked.items() if found and all(map(math.isfinite, found.values()))}
    if best is None or len(values) < 2:
        return None
    compared = {row: compare(values[row], values[best]) for row in values if row != best}
    corrected = holm([comparison.p for comparison in compared.values()])
    lines = [
        _comparison_line(
            row_label(row), comparison, p, metric.display_scale, table.noise.get(dataset, {}).get(metric.name)
        )
        for (row, comparison), p in zip(compared.items(), corrected, strict=True)
    ]
    label = measure.label("published")
    if metric.direction == "half":
        label += ", distance from 0.5"
    return {"dataset": dataset_name(dataset), "measure": label, "best": row_label(best), "lines": lines}


def _comparison_line(
    label: str, found: Comparison, adjusted: float | None, factor: float, deviation: float | None
) -> dict[str, Any]:
    """Spell one comparison; ``factor`` brings stored values to the unit shown.

    A difference that is smaller than the ``deviation`` of the measurement noise is marked, and its tooltip says so.
    """
    difference = interval = effect = ABSENT
    if found.n:
        difference = f"{found.difference * factor:.3g}"
    if found.low is not None:
        interval = f"{found.low * factor:.3g} to {found.high * factor:.3g}"
    if found.effect is not None:
        low, high = found.effect_interval
        effect = f"{found.effect:.2f} ({low:.2f} to {high:.2f})"
    return {
        "row": label,
        "n": str(found.n),
        "difference": difference,
        "noise": noise_note(deviation * factor) if noise.is_within(found.difference, deviation) else "",
        "interval": interval,
        "p": show_p(adjusted, absent="no test"),
        "wilcoxon": show_p(found.p_wilcoxon, absent="no test"),
        "effect": effect,
    }
