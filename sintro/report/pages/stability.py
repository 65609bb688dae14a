"""The section on stability of a study's page: the table and the pictures over the grid of hyper-parameters."""

from collections.abc import Sequence

from sintro.metrics import METRICS
from sintro.report.figures.stability import draw_sweeps
from sintro.report.numbers.results import NO_RESULT, Result
from sintro.report.numbers.stability import LEVELS, MEASURES, numbers_of, sweeps_of, to_csv
from sintro.report.numbers.words import ABSENT, dataset_name, row_label, show_number
from sintro.report.pages.writer import View


def stability_view(results: Sequence[Result]) -> View | None:
    """Lay out the section: lines, pictures and the table as CSV; None without a grid to compare over."""
    sweeps = sweeps_of(results)
    if not sweeps:
        return None
    lines = [numbers_of(sweep) for sweep in sweeps]
    pictures = []
    for dataset in dict.fromkeys(sweep.dataset for sweep in sweeps):
        svg = draw_sweeps([sweep for sweep in sweeps if sweep.dataset == dataset])
        pictures.append({"title": f"KL (published) over the grid, {dataset_name(dataset)}", "svg": svg})
    return {
        "lines": [line_view(line) for line in lines],
        "heads": [METRICS[metric].label for metric in MEASURES],
        "pictures": pictures,
        "csv": to_csv(lines),
    }


def line_view(line: View) -> View:
    """Spell one line of the table."""
    counts = {state: line[state.replace(" ", "_")] for state in NO_RESULT}
    absent = [f"{count} {state}" for state, count in counts.items() if count]
    spreads = [text for metric in MEASURES for text in _spread(line, metric)]
    return {
        "dataset": dataset_name(line["dataset"]),
        "label": row_label((line["objective"], line["prior"], line["regularizers"])),
        "finished": f"{line['done']}/{line['runs']}",
        "diverged": share(line["diverged"], line["ended"]),
        "collapsed": share(line["collapsed"], line["judged"]),
        "absent": ", ".join(absent) or "none",
        "spreads": spreads,
    }


def share(part: int, whole: int) -> str:
    """Spell a share: `3/72 (4.2%)`; a dash where there is nothing to take a share of."""
    return f"{part}/{whole} ({part / whole:.1%})" if whole else ABSENT


def _spread(line: View, metric: str) -> list[str]:
    """Spell a metric's spread over the settings: median, quartiles, extremes, and how many settings have a number."""
    count = f"{line[f'{metric}_n']}/{line['settings']}"
    if not line[f"{metric}_n"]:
        return [ABSENT] * 4 + [count]
    shown = {level: show_number(line[f"{metric}_{level}"], 3) for level in LEVELS}
    quartiles = f"{shown['lower_quartile']} to {shown['upper_quartile']}"
    return [shown["median"], quartiles, shown["min"], shown["max"], count]
