"""Stability over the hyper-parameters: how each objective fares over a grid of explicit ones, in numbers.

Everything comes from results that were read already; nothing here opens a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sintro.report.numbers.claim_files import UNSTABLE
from sintro.report.numbers.claims import value_of
from sintro.report.numbers.exports import as_csv
from sintro.report.numbers.results import Result, count_states, grouped
from sintro.report.numbers.statistics import is_known
from sintro.report.numbers.tables import in_order
from sintro.runs.results import STATES

MEASURES = ("kl_published", "kl")
LEVELS = {"median": 0.5, "lower_quartile": 0.25, "upper_quartile": 0.75, "min": 0.0, "max": 1.0}


@dataclass(frozen=True, eq=False)
class Sweep:
    """The runs of one data set, objective (without its hyper-parameters), prior and regularizers over the grid."""

    dataset: str
    row: tuple[str, str, str]
    results: list[Result]

    @property
    def settings(self) -> set[str]:
        """The hyper-parameters that occur, as paths spell them."""
        return {result.cell.objective for result in self.results}


def sweeps_of(results: Sequence[Result]) -> list[Sweep]:
    """Collect the 2D runs whose path gives the hyper-parameters, by data set, objective, prior and regularizers.

    There is nothing to compare, and so no sweep, unless two objectives have such runs and one of them several settings.
    """
    explicit = [result for result in results if result.kind == "2d" and result.cell.betas is not None]
    found = grouped(explicit, lambda result: (result.cell.dataset, result.cell.objective_name, *result.row[1:]))
    sweeps = [Sweep(dataset, tuple(row), members) for (dataset, *row), members in found.items()]
    objectives = {sweep.row[0] for sweep in sweeps}
    if len(objectives) < 2 or all(len(sweep.settings) == 1 for sweep in sweeps):
        return []
    # By data set, so that the objectives to compare stand beside each other.
    places = in_order(sweep.dataset for sweep in sweeps)
    return sorted(sweeps, key=lambda sweep: places.index(sweep.dataset))


def is_collapsed(result: Result) -> bool | None:
    """Tell whether a finished run collapsed (``sintro.metrics.collapse``); None where nobody knows."""
    if result.state != "done":
        return None
    unstable = value_of(result, UNSTABLE)
    return None if unstable is None else unstable == 1


def spread_over_settings(results: Sequence[Result], metric: str) -> dict[str, float]:
    """Find median, quartiles (linear between neighbours), extremes and number of the settings' values.

    A setting's value is the mean over its finished seeds with a finite number; a setting without one is left out of n.
    """
    settings, values = [], []
    for result in results:
        value = result.value(metric)
        if is_known(value):
            settings.append(result.cell.objective)
            values.append(value)
    means = pd.Series(values, dtype=float).groupby(settings).mean()
    spread = {name: float(means.quantile(level)) for name, level in LEVELS.items()}
    return spread | {"n": len(means)}


def numbers_of(sweep: Sweep) -> dict[str, Any]:
    """Fill one line of the table: the counts, and the spread of both KLs as ``<metric>_<level>``."""
    objective, prior, regularizers = sweep.row
    counts = count_states(sweep.results)
    fates = [is_collapsed(result) for result in sweep.results]
    collapsed, intact = fates.count(True), fates.count(False)
    line = {
        "dataset": sweep.dataset,
        "objective": objective,
        "prior": prior,
        "regularizers": regularizers,
        "settings": len(sweep.settings),
        "runs": len(sweep.results),
    }
    line |= {state.replace(" ", "_"): counts[state] for state in STATES}
    # Shares are of the runs that ended, diverged ones included, so that the two add up.
    line["ended"] = counts["done"] + counts["diverged"]
    line["collapsed"] = collapsed
    line["judged"] = counts["diverged"] + collapsed + intact
    for metric in MEASURES:
        spread = spread_over_settings(sweep.results, metric)
        line |= {f"{metric}_{level}": value for level, value in spread.items()}
    return line


def to_csv(lines: Sequence[dict[str, Any]]) -> str:
    """Write the table with every digit."""
    return as_csv(pd.DataFrame(list(lines), dtype=object))
