"""Stability in the report: how each objective fares over a grid of explicit hyper-parameters, as a table and pictures.

Everything comes from results that were read already; nothing here opens a file.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sintro.cells import DENSITIES
from sintro.report.numbers.claims import UNSTABLE, value_of
from sintro.report.numbers.results import STATES, Result, count_states
from sintro.report.numbers.tables import is_density

MEASURES = ("kl_published", "kl")
SPREAD = ("median", "lower_quartile", "upper_quartile", "min", "max", "n")


@dataclass(frozen=True, eq=False)
class Sweep:
    """The runs of one data set, objective (without its hyper-parameters), prior and regularizers over the grid."""

    dataset: str
    row: tuple[str, str, str]
    results: list[Result]


def sweeps_of(results: Sequence[Result]) -> list[Sweep]:
    """The 2D runs whose path gives the hyper-parameters; none unless two objectives do and one takes several values."""
    found: dict[tuple, list[Result]] = {}
    for result in results:
        cell = result.cell
        if is_density(result) and cell.betas is not None:
            row = (cell.objective_name, cell.prior, cell.regularizers)
            found.setdefault((cell.dataset, row), []).append(result)
    objectives = {row[0] for _, row in found}
    gridded = any(len({r.cell.objective for r in members}) > 1 for members in found.values())
    # By data set, so that the objectives to compare stand beside each other.
    ordered = sorted(found.items(), key=lambda item: DENSITIES.index(item[0][0]))
    return [Sweep(*key, members) for key, members in ordered] if len(objectives) > 1 and gridded else []


def is_collapsed(result: Result) -> bool | None:
    """Whether a finished run collapsed (``sintro.metrics.collapse``); None where nobody knows."""
    unstable = value_of(result, UNSTABLE) if result.state == "done" else None
    return None if unstable is None else unstable == 1


# --- the table


def spread_over_settings(results: Sequence[Result], metric: str) -> dict[str, float]:
    """Median, quartiles (linear between neighbours), extremes and number of the settings' values.

    A setting's value is the mean over its finished seeds with a finite number; a setting without one is left out of n.
    """
    settings: dict[str, list[float]] = {}
    for result in results:
        value = result.value(metric) if result.state == "done" else None
        if value is not None and math.isfinite(value):
            settings.setdefault(result.cell.objective, []).append(value)
    means = [float(np.mean(values)) for values in settings.values()]
    levels = [0.5, 0.25, 0.75, 0, 1]
    numbers = np.quantile(means, levels).tolist() if means else [math.nan] * len(levels)
    return dict(zip(SPREAD, [*numbers, len(means)], strict=True))


def numbers_of(sweep: Sweep) -> dict[str, Any]:
    """One line of the table: the counts, and the spread of both KLs as ``<metric>_<what>``."""
    names = ("dataset", "objective", "prior", "regularizers")
    counts = count_states(sweep.results)
    fates = [is_collapsed(result) for result in sweep.results]
    line = dict(zip(names, (sweep.dataset, *sweep.row), strict=True))
    line |= {"settings": len({r.cell.objective for r in sweep.results}), "runs": len(sweep.results)}
    line |= {state.replace(" ", "_"): counts[state] for state in STATES}
    # Shares are of the runs that ended, diverged ones included, so that the two add up.
    line |= {"ended": counts["done"] + counts["diverged"], "collapsed": fates.count(True)}
    line["judged"] = counts["diverged"] + fates.count(True) + fates.count(False)
    for metric in MEASURES:
        spread = spread_over_settings(sweep.results, metric)
        line |= {f"{metric}_{what}": value for what, value in spread.items()}
    return line


def to_csv(lines: Sequence[dict[str, Any]]) -> str:
    """The table with every digit."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


# --- the pictures
