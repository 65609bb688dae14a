"""The tables of metrics that each see one kind of error: this suite's own, in their standard form only."""

from collections.abc import Mapping, Sequence

from sintro.report.results import Result
from sintro.report.tables import Measure, Table, is_density, make_table

PLANE = ("sliced_w2", "energy_distance", "density", "coverage", "one_nna")
TITLE = "2D densities, a metric for each kind of error (standard form): weights of the parts, then shapes"


def tables_of(results: Sequence[Result], floors: Mapping[str, Mapping[str, tuple[float, float]]]) -> list[Table]:
    """The table of the plane, where any of the results has its metrics; cells without a number are counted in it."""
    plane = [result for result in results if is_density(result)]
    if not any(name in result.metrics for result in plane for name in PLANE):
        return []
    return [make_table("errors", TITLE, plane, [Measure(name, name, ours=True) for name in PLANE], floors)]
