"""The section on stability of a study's page: the table and the pictures over the grid of hyper-parameters."""

from collections.abc import Sequence
from typing import Any

from sintro.metrics import METRICS
from sintro.report.figures.stability import draw_sweeps
from sintro.report.numbers.results import ABSENT, Result
from sintro.report.numbers.stability import MEASURES, SPREAD, numbers_of, sweeps_of, to_csv
from sintro.report.numbers.words import DATASET_NAMES, row_label, show_number


def share(part: int, whole: int) -> str:
    """`3/72 (4.2%)`; a dash where there is nothing to take a share of."""
    return f"{part}/{whole} ({part / whole:.1%})" if whole else "–"


def line_view(line: dict[str, Any]) -> dict[str, Any]:
    """One line of the table as texts."""

    def spread(metric: str) -> list[str]:
        median, low, high, least, most = (show_number(line[f"{metric}_{what}"], 3) for what in SPREAD[:-1])
        count = f"{line[f'{metric}_n']}/{line['settings']}"
        return [median, f"{low} to {high}", least, most, count] if line[f"{metric}_n"] else ["–"] * 4 + [count]

    counts = {state: line[state.replace(" ", "_")] for state in ABSENT}
    absent = [f"{count} {state}" for state, count in counts.items() if count]
    return {
        "dataset": DATASET_NAMES[line["dataset"]],
        "label": row_label((line["objective"], line["prior"], line["regularizers"])),
        "finished": f"{line['done']}/{line['runs']}",
        "diverged": share(line["diverged"], line["ended"]),
        "collapsed": share(line["collapsed"], line["judged"]),
        "absent": ", ".join(absent) or "none",
        "spreads": [text for metric in MEASURES for text in spread(metric)],
    }


def stability_view(results: Sequence[Result]) -> dict[str, Any] | None:
    """The section of a study's page: lines, pictures and the table as CSV; None without a grid to compare over."""
    sweeps = sweeps_of(results)
    if not sweeps:
        return None
    lines = [numbers_of(sweep) for sweep in sweeps]
    pictures = []
    for dataset in dict.fromkeys(sweep.dataset for sweep in sweeps):
        svg = draw_sweeps([sweep for sweep in sweeps if sweep.dataset == dataset])
        pictures.append({"title": f"KL (published) over the grid, {DATASET_NAMES[dataset]}", "svg": svg})
    heads = [METRICS[metric].label for metric in MEASURES]
    return {"lines": [line_view(line) for line in lines], "heads": heads, "pictures": pictures, "csv": to_csv(lines)}
