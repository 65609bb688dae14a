"""What the pages of studies show, as plain dictionaries: the templates only lay it out."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sintro import studies
from sintro.cells import DATA_SIZES, Cell
from sintro.presets import Settings
from sintro.report.results import OTHER, STATES, Result, count_states
from sintro.report.statistics import compare, holm
from sintro.report.tables import FORMS, SPREADS, Entry, Key, Measure, Table
from sintro.report.words import ARROWS, DATASET_NAMES, row_label, show_duration, show_setting

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

CHANGEABLE = ("iterations", "batch_size", "samples", "learning_rate", "channels", "evaluation_points",
              "evaluation_grid", "evaluation_images")  # fmt: skip
# The phases of a run in iterations, by what the pages call them; a VAE has the first alone.
PHASES = {
    "milestones of the learning rate at": lambda one: one.milestones,
    "warm-up": lambda one: (one.warmup,),
    "conversion of the prior": lambda one: () if one.conversion is None else (one.warmup - one.conversion,),
}


def shortened(settings: Settings, cell: Cell) -> list[str]:
    """How a cell's settings differ from the published ones, in words: `iterations 3,000 instead of 30,000`."""
    preset = studies.published(cell)
    both = [(name, getattr(settings, name), getattr(preset, name)) for name in CHANGEABLE]
    changed = [
        f"{name.replace('_', ' ')} {show_setting(have)} instead of {show_setting(paper)}"
        for name, have, paper in both
        if have != paper
    ]
    if settings.training_images is not None:
        whole = DATA_SIZES[cell.dataset]
        changed.append(f"training images {show_setting(settings.training_images)} instead of {show_setting(whole)}")
    changed += _rescheduled(settings, preset)
    if settings.adam_at_introspection != preset.adam_at_introspection:
        changed.append("Adam's state restarted where the published code carries it into introspection")
    others = [n for n in ("beta_rec", "beta_kl", "beta_neg", "logits_at_conversion") if
              getattr(settings, n) != getattr(preset, n)]  # fmt: skip
    return changed + [f"{name.replace('_', ' ')} changed" for name in others]


def _rescheduled(settings: Settings, preset: Settings) -> list[str]:
    """The phases that do not follow the length in proportion, as shares of it."""
    told = []
    for name, phases in PHASES.items():
        have, paper = (phases(one) for one in (settings, preset))
        scaled = [each * settings.iterations / preset.iterations for each in paper]
        if len(have) != len(paper) or any(abs(a - b) > 1 for a, b in zip(have, scaled, strict=True)):
            shares = [
                " and ".join(f"{each / one.iterations:.3g}" for each in found if each < one.iterations) or "none"
                for found, one in ((have, settings), (paper, preset))
            ]
            told.append(f"{name} {shares[0]} of the length instead of {shares[1]}")
    return told


def study_facts(results: Sequence[Result]) -> dict[str, Any]:
    """Counts, code, hardware, dates and cost over the cells of a study that were made with its settings."""
    made = [r.provenance for r in results if r.provenance and r.state != OTHER]
    codes = sorted(codes_of(made))
    dirty = sum(bool(p.get("dirty")) for p in made)
    hardware = sorted({" · ".join(str(p[k]) for k in ("cpu", "device") if p.get(k)) for p in made} - {""})
    finished = sorted(str(p["finished"]) for p in made if p.get("finished"))
    walls = [(p.get("wall_seconds"), p.get("fleet", 1)) for p in made]  # F cells of a fleet share its time
    seconds = sum(wall / beside for wall, beside in walls if isinstance(wall, int | float) and math.isfinite(wall))
    return {
        "counts": count_states(results),
        "total": len(results),
        "codes": codes,
        "dirty": dirty,
        "hardware": hardware,
        "first": _day(finished[0]) if finished else "",
        "last": _day(finished[-1]) if finished else "",
        "cost": show_duration(float(seconds)) if seconds else "–",
    }


def codes_of(made: Sequence[Mapping[str, Any]]) -> set[str]:
    """The code that runs were made with: their commits, and the hash of the sources of those that have none.

    Equal sources are one code: of a run on a machine without git, the commit is known from another run.
    """
    commits = {
        str(p["sources_sha256"]): str(p["commit"])
        for p in made
        if p.get("sources_sha256") and p.get("commit") and not p.get("dirty")
    }
    return {code for p in made if (code := code_of(p, commits))}


def code_of(provenance: Mapping[str, Any], commits: Mapping[str, str] | None = None) -> str:
    """``0123abc45678`` or ``sources 3f2a90c1b77e``; empty where neither was recorded.

    ``commits``: the commits of sources, by their hash, that are known otherwise.
    """
    sources = str(provenance.get("sources_sha256") or "")
    commit = provenance.get("commit") or (commits or {}).get(sources)
    if commit:
        return str(commit)[:12]
    return f"sources {sources[:12]}" if sources else ""


def _day(stamp: str) -> str:
    try:
        return datetime.fromisoformat(stamp).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return stamp[:20]


def problem_views(results: Iterable[Result], link: Callable[[Result], str], most: int = 100) -> dict[str, Any]:
    """The cells that are not simply done, with the reason: at most ``most`` of each state, and how many there are."""
    groups = []
    for state in (*STATES[1:], "done"):
        found = [r for r in results if r.state == state and (state != "done" or r.notes or _not_finite(r))]
        if not found:
            continue
        lines = [{"path": r.cell.path, "link": link(r), "reason": _reason(r)} for r in found[:most]]
        title = "done, with remarks" if state == "done" else state
        groups.append({"state": state, "title": title, "count": len(found), "lines": lines})
    return {"groups": groups, "most": most}


def _not_finite(result: Result) -> list[str]:
    return [name for name, value in result.metrics.items() if not math.isfinite(value)]


def _reason(result: Result) -> str:
    parts = [result.reason, *result.notes]
    if bad := _not_finite(result):
        parts.append(f"not finite: {', '.join(bad)}")
    return "; ".join(filter(None, parts))
