"""Tables in the papers' layout: one row per objective, prior and regularizers, columns grouped by data set.

Each number is a mean over seeds in two forms (published, standard) with three spreads; the cells without a number are
counted beside it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sintro.cells.components import datasets as known_datasets
from sintro.metrics import METRICS, Metric, noise
from sintro.metrics.definitions_images import CHECKS_WITH_FLOORS
from sintro.report.numbers.results import Result, count_states, grouped
from sintro.report.numbers.statistics import Summary, best_and_equals, summarise
from sintro.report.numbers.words import ABSENT, decimal_places, format_summary, show_number

FORMS = ("published", "standard")
GONE = "its extension is gone"  # beside numbers that nobody can make again as things are
SAW_LABELS = "saw labels"  # beside numbers of a row that no row without labels is compared with
SPREADS = {"published": "sd/√n, ddof 0, as published", "t95": "95% t interval of the mean", "range": "min to max"}


def label_in_unit(metric: Metric) -> str:
    """Name a metric, with the unit of the numbers shown where there is one."""
    return metric.label + {"1e-7": " × 10⁷", "%": ", %"}.get(metric.unit, "")


@dataclass(frozen=True)
class Measure:
    """One column of a table: a metric in its published and its standard form, by their names in METRICS.

    ``ours``: the papers' table has no such column.
    """

    published: str
    standard: str
    ours: bool = False

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms to choose from: one where the same metric stands for both."""
        return FORMS if self.published != self.standard else FORMS[:1]

    def metric(self, form: str) -> Metric:
        """Find the definition of the metric in this form."""
        return METRICS[self.published if form == "published" else self.standard]

    @property
    def published_label(self) -> str:
        """Name the published numbers where nothing else says their form."""
        return self.label("published") + (" (published)" if len(self.forms) > 1 else "")

    def label(self, form: str) -> str:
        """Spell the column head; the form of a column with two is said once for the whole table, so not here."""
        label = label_in_unit(self.metric(form))
        return label if len(self.forms) == 1 else label.replace(" (published)", "")


@dataclass(eq=False)
class Entry:
    """What a table holds for one row and data set: the results over seeds, and a Summary per measure and form."""

    results: list[Result]
    note: str = ""
    summaries: dict[tuple[str, str], Summary] = field(default_factory=dict)

    @cached_property
    def saw_labels(self) -> bool:
        """Whether any of the results is of a run that saw labels."""
        return any(result.saw_labels for result in self.results)

    @cached_property
    def states(self) -> dict[str, int]:
        """How many of the seeds are in each state."""
        return count_states(self.results)

    @property
    def counted(self) -> str:
        """`5`, or `4/5, 1 diverged`: how many seeds the mean is over, and what became of the others."""
        states, total = self.states, len(self.results)
        if states["done"] == total:
            return f"{total}"
        others = [f"{count} {state}" for state, count in states.items() if state != "done" and count]
        return f"{states['done']}/{total}, {', '.join(others)}"

    def why_not(self, metric: str) -> str:
        """Say why some of the seeds have no number: `evaluate again`, or what the evaluation says; else nothing."""
        reasons = [result.why_not(metric) for result in self.results]
        return next(filter(None, reasons), "")

    def values(self, metric: str) -> dict[int, float]:
        """Map seed -> stored number, of the finished cells that have it (a NaN included)."""
        numbers = {result.cell.seed: result.value(metric) for result in self.results}
        return {seed: value for seed, value in numbers.items() if value is not None}

    def ranked(self, metric: Metric) -> dict[int, float]:
        """Map seed -> the number that its value is ranked by: the value itself, save where 1/2 is best.

        NaN for a seed that diverged: a mean over the others would flatter the row, so it is ranked nowhere.
        """
        values = {seed: metric.ranked(value) for seed, value in self.values(metric.name).items()}
        return values | {result.cell.seed: math.nan for result in self.results if result.state == "diverged"}

    def ranked_mean(self, metric: Metric) -> float:
        """Average what the seeds are ranked by; NaN where one diverged or is undefined, or none has a number."""
        return summarise(list(self.ranked(metric).values())).mean


Key = tuple[str, str, str]  # objective, prior, regularizers
Floor = Mapping[str, tuple[float, float | None]]  # metric -> mean, sd over draws (None where there is one draw)


@dataclass(eq=False)
class Table:
    """A table in the papers' layout. ``entries[row, dataset]`` is absent where the study has no such cell."""

    name: str
    title: str
    measures: tuple[Measure, ...]
    datasets: tuple[str, ...]
    rows: tuple[Key, ...]
    entries: dict[tuple[Key, str], Entry]
    floors: dict[str, Floor] = field(default_factory=dict)  # by data set
    noise: dict[str, dict[str, float]] = field(default_factory=dict)  # by data set: metric -> sd over evaluation draws
    best: dict[tuple[str, str, str], set[Key]] = field(default_factory=dict)  # data set, metric, form -> rows in bold
    top: dict[tuple[str, str, str], Key | None] = field(default_factory=dict)  # the single best of them
    decimals: dict[tuple[str, str, str], int] = field(default_factory=dict)
    reading: str = ""  # what a reader should know of its columns, beside their definitions
    which: str = ""  # what sets it apart from another table of the study with the same columns

    def named(self, measure: Measure) -> str:
        """Name a column's published numbers in a heading of the study, where another table may have them too."""
        return ", ".join(filter(None, (measure.published_label, self.which)))

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms to choose from: one where no column has two."""
        return max((measure.forms for measure in self.measures), key=len, default=FORMS[:1])

    @property
    def reported(self) -> tuple[Measure, ...]:
        """The columns that the papers' table has too."""
        return tuple(measure for measure in self.measures if not measure.ours)

    @property
    def results(self) -> list[Result]:
        """Every result behind the table."""
        return [result for entry in self.entries.values() for result in entry.results]

    def column(self, dataset: str) -> dict[Key, Entry]:
        """Map row -> its entry on this data set, for the rows that the study has there."""
        present = [row for row in self.rows if (row, dataset) in self.entries]
        return {row: self.entries[row, dataset] for row in present}

    def peers(self, dataset: str) -> dict[Key, Entry]:
        """Map row -> its entry on this data set, for the rows that are compared with each other.

        Rows that saw labels are so among themselves only: beside rows without labels they take no part.
        """
        column = self.column(dataset)
        return {row: entry for row, entry in column.items() if not entry.saw_labels} or column

    def text(self, row: Key, dataset: str, measure: Measure, form: str, spread: str) -> str:
        """Show one number: `17.23 ± 0.11`, `16.9 … 17.5`, or why there is none."""
        entry = self.entries.get((row, dataset))
        if entry is None:
            return ""
        summary = entry.summaries[measure.published, form]
        metric = measure.metric(form)
        reason = entry.why_not(metric.name)
        if summary.n == 0 and reason:
            return reason
        places = self.decimals[dataset, measure.published, form]
        text = format_summary(summary, places, metric.display_scale, spread)
        # The seeds are counted once per row and data set; a metric that fewer of them have says so itself.
        has_fewer = 0 < summary.n < entry.states["done"]
        return f"{text} (n = {summary.n})" if has_fewer else text

    def floor_text(self, dataset: str, measure: Measure, form: str) -> str:
        """Show a metric's floor, mean ± standard deviation over its draws; empty where it has none."""
        metric = measure.metric(form)
        floor = self.floors.get(dataset, {}).get(metric.name)
        if floor is None:
            return ""
        places = self.decimals[dataset, measure.published, form]
        shown = [part * metric.display_scale for part in floor if part is not None]
        return " ± ".join(f"{part:.{places}f}" for part in shown)

    def noise_text(self, dataset: str, measure: Measure, form: str) -> str:
        """Show a metric's measurement noise, one standard deviation; empty where no evaluation measured it."""
        metric = measure.metric(form)
        deviation = self.noise.get(dataset, {}).get(metric.name)
        if deviation is None:
            return ""
        places = self.decimals[dataset, measure.published, form]
        return f"± {deviation * abs(metric.display_scale):.{places}f}"

    @property
    def floor_kind(self) -> str:
        """What the floor row is of: ``2d``, ``images``, ``checks`` of images; empty where there is no such row."""
        if not self.floors:
            return ""
        if {measure.published for measure in self.measures} & {*CHECKS_WITH_FLOORS}:
            return "checks"
        kinds = {result.kind for result in self.results}  # a table is of one kind of data
        return kinds.pop()


def in_order(datasets: Iterable[str]) -> tuple[str, ...]:
    """Name each data set once, in the registry's order: the papers', then the user's own, then prepared folders."""
    found = set(datasets)
    listed = tuple(dataset for dataset in known_datasets() if dataset in found)
    return (*listed, *sorted(found.difference(listed)))


def seed_text(result: Result, measure: Measure, form: str) -> str:
    """Show one seed's number, or why there is none."""
    metric = measure.metric(form)
    value = result.value(metric.name)
    if value is None:
        return result.why_not(metric.name) or ABSENT
    return show_number(value * metric.display_scale)


def make_entry(results: Sequence[Result], measures: Sequence[Measure], note: str = "") -> Entry:
    """Summarise every measure in both forms over the finished cells."""
    is_gone = any(result.gone for result in results)
    entry = Entry(list(results))
    marks = (note, SAW_LABELS if entry.saw_labels else "", GONE if is_gone else "")
    entry.note = ", ".join(filter(None, marks))
    for measure in measures:
        for form in FORMS:
            name = measure.metric(form).name
            values = entry.values(name)
            entry.summaries[measure.published, form] = summarise(list(values.values()))
    return entry


def make_table(
    name: str,
    title: str,
    results: Sequence[Result],
    measures: Sequence[Measure],
    floors: Mapping[str, Floor] | None = None,
    notes: Mapping[tuple[Key, str], str] | None = None,
    row_key: Callable[[Result], Key] = lambda result: result.row,
    reading: str = "",
) -> Table:
    """Arrange results in rows and data sets, rows by first appearance and data sets in the papers' order.

    Beside rows that saw no labels, those that did come last.

    ``row_key`` says which row a result belongs to (by default its objective, prior and regularizers).
    """
    notes = notes or {}
    found = grouped(results, lambda result: (row_key(result), result.cell.dataset))
    entries = {place: make_entry(members, measures, notes.get(place, "")) for place, members in found.items()}
    datasets = in_order(dataset for _, dataset in found)
    seeing = {row for (row, _), entry in entries.items() if entry.saw_labels}
    rows = tuple(sorted(dict.fromkeys(row for row, _ in found), key=lambda row: row in seeing))
    known = {dataset: values for dataset, values in (floors or {}).items() if dataset in datasets and values}
    table = Table(name, title, tuple(measures), datasets, rows, entries, known, reading=reading)
    table.noise = _noise(table)
    if len(table.results) != len(results):
        raise AssertionError(f"table {name}: {len(results)} results in, {len(table.results)} out")
    for dataset in datasets:
        for measure in measures:
            for form in FORMS:
                _finish_column(table, dataset, measure, form)
    return table


def _noise(table: Table) -> dict[str, dict[str, float]]:
    """Pool the measurement noise of each data set's rows, by metric; data sets without any are left out."""
    names = [measure.metric(form).name for measure in table.measures for form in FORMS]
    found = {}
    for dataset in table.datasets:
        results = [result for entry in table.column(dataset).values() for result in entry.results]
        pooled = {name: noise.pooled(result.noise(name) for result in results) for name in dict.fromkeys(names)}
        known = {name: deviation for name, deviation in pooled.items() if deviation is not None}
        if known:
            found[dataset] = known
    return found


def _finish_column(table: Table, dataset: str, measure: Measure, form: str) -> None:
    """Decide a column's decimals, and which rows are best or not significantly worse than the best."""
    place = (dataset, measure.published, form)
    peers = table.peers(dataset)
    summaries = [entry.summaries[measure.published, form] for entry in table.column(dataset).values()]
    metric = measure.metric(form)
    table.decimals[place] = decimal_places(summaries, metric.display_scale)
    table.best[place] = set()
    if metric.lower_is_better is None or len(peers) < 2:
        return
    values = {row: entry.ranked(metric) for row, entry in peers.items()}
    table.top[place], table.best[place] = best_and_equals(values, metric.lower_is_better)


# --- what the papers tabulate (docs/science.md, section 4)

TABLE1 = (
    Measure("gnelbo_published", "gnelbo"),
    Measure("kl_published", "kl"),
    Measure("jsd_published", "jsd"),
    Measure("out_of_range", "out_of_range", ours=True),  # what KL and JSD as published do not see
)
DISTANCES = {
    name: (Measure(f"{name}_published", name), Measure(f"{name}_rec_published", f"{name}_rec"))
    for name in ("fid", "cfid")
}


def image_measures(results: Iterable[Result]) -> tuple[Measure, ...]:
    """List the columns of Tables 2 and 5; cFID stands in where no cell has an FID (no Inception, or small images)."""
    stored = {name for result in results for name in result.metrics}
    kind = "cfid" if "cfid_published" in stored and "fid_published" not in stored else "fid"
    unswitched = [Measure(name, name) for name in ("svc_few", "svc_many", "knn_few", "knn_many")]
    return (
        Measure("responsibility_entropy_published", "responsibility_entropy"),
        *DISTANCES[kind],
        Measure("recall_published", "recall"),
        Measure("precision_published", "precision"),
        *unswitched,
    )


def family(result: Result) -> Key:
    """Name the row of Table 2: objective, prior and the regularizers without the responsibility weight."""
    regularizers = "clip" if result.cell.regularizer_spec.clip else "none"
    return (result.cell.objective, result.cell.prior, regularizers)
