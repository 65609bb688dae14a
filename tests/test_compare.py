"""Comparing two runs: every formula against SciPy or by hand, rates by simulation, and real results folders."""

import csv
import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_cells import grid, write_cell, write_cells
from rich.console import Console
from scipy import stats

from sintro import SintroError
from sintro.__main__ import main
from sintro.cells import studies
from sintro.cells.cell import Cell
from sintro.metrics import noise
from sintro.report.numbers import origins
from sintro.report.numbers.compare import Comparison, Spreads, compare_trees
from sintro.report.numbers.compared_rows import (
    DIFFERS,
    DIVERGED,
    EQUAL,
    EQUIVALENT,
    UNDECIDED,
    UNDEFINED,
    VALUE,
    Row,
    choose_seeds,
    decide,
)
from sintro.report.numbers.differences import Estimate, fisher, paired, welch
from sintro.report.numbers.results import Result
from sintro.report.numbers.trees import Tree, open_tree, read_tree
from sintro.report.pages import compare as compare_page

STORED = Path(__file__).parent / "stored"
PRIORS = ("normal", "vamp2", "vamp4", "vamp8")
METRICS = ("kl_published", "jsd_published")
FIVE = range(5)


# --- formulas


@pytest.mark.parametrize(("n", "m"), [(2, 3), (5, 5), (4, 9)])
def test_welch_agrees_with_scipy(n, m):
    rng = np.random.default_rng(n)
    a, b = rng.normal(0, 1, n), rng.normal(0.5, 3, m)
    found = welch(a, b)
    test = stats.ttest_ind(b, a, equal_var=False)
    assert found.p == pytest.approx(test.pvalue)
    assert found.freedom == pytest.approx(test.df)
    assert found.difference == pytest.approx(b.mean() - a.mean())
    for level in (0.9, 0.95):
        assert found.interval(level) == pytest.approx(tuple(test.confidence_interval(level)))


@pytest.mark.parametrize("n", [2, 5, 12])
def test_the_paired_test_agrees_with_scipy(n):
    rng = np.random.default_rng(n)
    a = rng.normal(10, 5, n)
    b = a + rng.normal(0.5, 1, n)
    found = paired(a, b)
    test = stats.ttest_rel(b, a)
    assert found.p == pytest.approx(test.pvalue)
    assert found.freedom == test.df
    for level in (0.9, 0.95):
        assert found.interval(level) == pytest.approx(tuple(test.confidence_interval(level)))


def test_equivalence_is_the_90_percent_interval_inside_the_margin():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(500):
        a, b, margin = rng.normal(size=5), rng.normal(rng.normal(), 1, 5), rng.uniform(0.2, 4)
        for found in (paired(a, b), welch(a, b)):
            low, high = found.interval(0.9)
            is_inside = -margin < low and high < margin
            assert (found.p_equivalent(margin) < 0.05) == is_inside
            seen.add(is_inside)
    assert seen == {True, False}


def test_equivalence_agrees_with_two_one_sided_tests_of_scipy():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=6), rng.normal(0.3, 1, 7)
    above = stats.ttest_ind(b + 1.5, a, equal_var=False, alternative="greater").pvalue
    below = stats.ttest_ind(b - 1.5, a, equal_var=False, alternative="less").pvalue
    assert welch(a, b).p_equivalent(1.5) == pytest.approx(max(above, below))


def test_equivalence_by_hand():
    # Differences 0, 1, 2: mean 1, sd 1, error 1/sqrt(3); with margin 3 the nearer bound is at t = 2 sqrt(3), and with
    # two degrees of freedom the share above t is 1/2 - t / (2 sqrt(2 + t^2)) = 1/2 - sqrt(12/14)/2.
    found = paired([5.0, 5.0, 5.0], [5.0, 6.0, 7.0])
    assert (found.difference, found.error, found.freedom) == (1.0, pytest.approx(1 / math.sqrt(3)), 2)
    assert found.p_equivalent(3.0) == pytest.approx(0.5 - math.sqrt(12 / 14) / 2)


def test_without_spread_there_is_no_t_test():
    assert paired([1.0], [2.0]) is None
    assert welch([1.0], [2.0, 3.0]) is None
    assert paired([8.0, 8.0], [7.0, 7.0]) is None
    assert paired([1.0, 2.0, 4.0], [2.0, 3.0, 5.0]) is None
    assert welch([8.0, 8.0, 8.0], [7.0, 7.0]) is None
    assert welch([8.0, 8.0, 8.0], [7.0, 9.0]).freedom == pytest.approx(1)
    assert paired([1e308, -1e308, 1e308], [-1e308, 1e308, 0.0]) is None


def test_differences_of_rounding_alone_are_no_difference_and_equivalent():
    a = np.array([1.1, 2.2, 3.3])
    found = paired(a, a * (1 + 2e-16 * np.array([1, 2, 2])))
    assert found.p > 0.3
    assert found.p_equivalent(0.5) < 1e-10


def test_fisher_by_hand():
    assert fisher(5, 5, 0, 5) == pytest.approx(2 / math.comb(10, 5))
    assert fisher(1, 2, 0, 2) == pytest.approx(1.0)
    # 4 of 5 against 0 of 5: tables with the same margins are as likely or less in 2 C(5,4) of C(10,4) ways.
    assert fisher(4, 5, 0, 5) == pytest.approx(2 * 5 / math.comb(10, 4))


def rows(*p_values: float | None) -> list[Row]:
    return [Row(("s", "d", "o", "p", "r"), "kl", VALUE, True, 5, 5, p=p) for p in p_values]


def test_holm_over_all_rows_by_hand():
    decided = decide(rows(0.04, None, 0.01, 0.02))
    assert [row.adjusted for row in decided] == [pytest.approx(0.04), None, pytest.approx(0.03), pytest.approx(0.04)]
    assert [row.verdict for row in decided] == [DIFFERS, UNDECIDED, DIFFERS, DIFFERS]
    decided = decide(rows(0.04, None, 0.02, 0.02))
    assert [row.adjusted for row in decided] == [pytest.approx(0.06), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert {row.verdict for row in decided} == {UNDECIDED}


@pytest.mark.parametrize(
    ("a", "b", "chosen"),
    [
        ([0, 1, 2], [0, 1, 2], ([0, 1, 2], [0, 1, 2], True)),
        ([0, 1, 2], [1, 2, 3], ([1, 2], [1, 2], True)),
        ([0, 1], [2, 3, 4], ([0, 1], [2, 3, 4], False)),
        ([0, 1, 2], [2, 3, 4], ([0, 1, 2], [2, 3, 4], False)),
        ([0, 1, 2], [2], ([2], [2], True)),
        ([0, 1, 2], [3], ([0, 1, 2], [3], False)),
    ],
)
def test_seeds_that_both_have_are_pairs(a, b, chosen):
    assert choose_seeds(a, b) == chosen


def compare(a: Tree, b: Tree, factor: float = 2.0) -> Comparison:
    """Compare with the factor that is the command line's default."""
    return compare_trees(a, b, factor)


# --- trees that exist in memory only


def cells(seeds) -> list[list[Cell]]:
    """By prior, by seed."""
    fixed = {"study": "table1", "dataset": "rings", "objective": "vae", "regularizers": "none"}
    return [[Cell(prior=prior, seed=seed, **fixed) for seed in seeds] for prior in PRIORS]


def tree(found: list[list[Cell]], values: np.ndarray) -> Tree:
    """A tree whose cells have these values, by prior, metric and seed."""
    made = Tree("made")
    for row, of_row in zip(found, values, strict=True):
        for i, cell in enumerate(row):
            metrics = dict(zip(METRICS, of_row[:, i].tolist(), strict=True))
            made.cells[cell.path] = Result(cell, Path("."), "done", metrics=metrics)
    return made


def simulate(seeds_a, seeds_b, pairs: int, shift: np.ndarray | float = 0.0) -> list[Comparison]:
    """Compare trees of normal values with sd 1 for one half of the rows and 10 for the other; ``shift`` is in sds."""
    rng = np.random.default_rng(7)
    cells_a, cells_b = cells(seeds_a), cells(seeds_b)
    sd = np.array([1.0, 10.0])[:, None]
    found = []
    for _ in range(pairs):
        a = sd * rng.standard_normal((len(PRIORS), len(METRICS), len(seeds_a)))
        b = sd * (rng.standard_normal((len(PRIORS), len(METRICS), len(seeds_b))) + shift)
        found.append(compare(tree(cells_a, a), tree(cells_b, b)))
    return found


def at_most(rate: float, n: int) -> int:
    """The count that an event with this rate exceeds in one of a thousand repetitions."""
    return int(stats.binom.ppf(0.999, n, rate))


@pytest.mark.slow
@pytest.mark.parametrize(("seeds_a", "seeds_b"), [(FIVE, FIVE), (range(2), range(2, 5))], ids=["paired", "unpaired"])
def test_a_thousand_pairs_without_a_difference_give_false_alarms_at_the_stated_rate(seeds_a, seeds_b):
    found = simulate(seeds_a, seeds_b, 1000)
    alarms = sum(one.differs for one in found)
    assert alarms <= at_most(0.05, 1000)
    assert alarms > 0, "the test has some power"


def test_a_planted_difference_is_found_and_nothing_else():
    shift = np.zeros((len(PRIORS), len(METRICS), 1))
    shift[2, 1] = 8.0
    found = simulate(FIVE, range(10, 15), 200, shift)
    planted = [one.rows[2 * len(METRICS) + 1] for one in found]
    assert sum(row.verdict == DIFFERS for row in planted) > 190
    others = sum(any(row.verdict == DIFFERS for row in one.rows if row not in planted) for one in found)
    assert others <= at_most(0.05, 200)


def test_at_the_edge_of_the_margin_equivalence_is_wrong_in_five_percent_at_most():
    found = simulate(FIVE, range(10, 15), 300, 2.0)
    all_rows = [row for one in found for row in one.rows]
    # A tree's rows share its margins, so that the limit is that of independent trees.
    wrong = np.mean([len(one.of(EQUIVALENT)) / len(one.rows) for one in found])
    assert wrong <= at_most(0.05, 300) / 300
    assert len(all_rows) == 300 * len(PRIORS) * len(METRICS)
    equivalent = sum(len(one.of(EQUIVALENT)) for one in simulate(FIVE, range(10, 15), 50))
    assert equivalent > 0.5 * 50 * len(PRIORS) * len(METRICS), "with the default margin five seeds can tell"


def test_the_margin_is_the_median_spread_of_as_rows_times_the_factor():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(4, 2, 5)), rng.normal(size=(4, 2, 5))
    a[0] *= 1000
    found = compare(tree(cells(FIVE), a), tree(cells(FIVE), b), 1.5)
    for i, metric in enumerate(METRICS):
        margins = {row.margin for row in found.rows if row.metric == metric}
        assert list(margins) == [pytest.approx(1.5 * np.median(a[:, i].std(axis=1, ddof=1)))]
    assert Spreads({}).of("table1", "rings", "kl_published") is None


def of_runs(values: np.ndarray, names: list[str]) -> Tree:
    """A tree whose seeds are these runs, in every row."""
    made = tree(cells(FIVE), values)
    for path, result in made.cells.items():
        run = {"model_sha256": f"{names[result.cell.seed]} {result.group}", "finished": "2026-11-29T00:00:00Z"}
        made.cells[path] = replace(result, provenance=run)
    return made


def test_copies_of_one_run_are_in_no_row_unless_all_of_it_are_copies():
    a = np.random.default_rng(4).normal(10, 1, (4, 2, 5))
    b = a + np.random.default_rng(5).normal(0, 0.1, a.shape)
    b[..., :2] = a[..., :2]  # seeds 0 and 1 were taken from A
    mixed = compare(of_runs(a, ["0", "1", "2", "3", "4"]), of_runs(b, ["0", "1", "other 2", "other 3", "other 4"]))
    assert mixed.copies == [cell.path for row in sorted(cells(FIVE), key=lambda row: row[0].prior) for cell in row[:2]]
    for row in mixed.rows:
        x, y = (side[PRIORS.index(row.group[3]), METRICS.index(row.metric), 2:] for side in (a, b))
        assert (row.seeds_a, row.seeds_b, row.is_paired) == (3, 3, True)
        assert row.p == pytest.approx(stats.ttest_rel(y, x).pvalue)
    itself = compare(of_runs(a, list("01234")), of_runs(a, list("01234")))
    assert (itself.copies, {row.verdict for row in itself.rows}) == ([], {EQUAL})
    unknown = compare(tree(cells(FIVE), a), tree(cells(FIVE), b))  # nobody knows of which runs they are
    assert (unknown.copies, {row.seeds_a for row in unknown.rows}) == ([], {5})


def changed(values: np.ndarray, diverged: tuple[int, ...] = ()) -> Tree:
    """A tree of which the first row's seeds named here diverged."""
    made = tree(cells(FIVE), values)
    for seed in diverged:
        cell = cells(FIVE)[0][seed]
        made.cells[cell.path] = Result(cell, Path("."), "diverged")
    return made


def by_what(found: Comparison, prior: str = PRIORS[0]) -> dict[tuple[str, str], Row]:
    return {(row.what, row.metric): row for row in found.rows if row.group[3] == prior}


VALUES = np.random.default_rng(3).normal(10, 1, (4, 2, 5))


def test_what_diverged_on_one_side_counts_against_that_side():
    found = by_what(compare(changed(VALUES), changed(VALUES, (1, 3))))
    row = found[DIVERGED, ""]
    assert (row.mean_a, row.mean_b, row.difference, row.verdict) == (0, 0.4, 0.4, UNDECIDED)
    assert row.p == pytest.approx(stats.fisher_exact([[0, 5], [2, 3]]).pvalue)
    for metric in METRICS:  # the values that are left are the same bits, and yet not called equal
        left = found[VALUE, metric]
        assert (left.seeds_a, left.lost_a, left.lost_b, left.verdict) == (3, 0, 2, UNDECIDED)


def test_a_side_on_which_all_diverged_differs_where_fisher_says_so():
    found = compare(changed(VALUES), changed(VALUES, tuple(FIVE)))
    row = by_what(found)[DIVERGED, ""]
    assert (row.verdict, found.differs) == (DIFFERS, True)
    assert row.p == pytest.approx(2 / 252)
    assert by_what(found)[VALUE, METRICS[0]].verdict == UNDECIDED
    assert by_what(compare(changed(VALUES, tuple(FIVE)), changed(VALUES)))[DIVERGED, ""].verdict == DIFFERS


def test_what_diverged_on_both_sides_alike_is_equal():
    found = by_what(compare(changed(VALUES, (2,)), changed(VALUES, (2,))))
    assert {row.verdict for row in found.values()} == {EQUAL}
    assert found[VALUE, METRICS[0]].seeds_a == 4
    found = by_what(compare(changed(VALUES, (2,)), changed(VALUES, (3,))))
    assert {row.verdict for row in found.values()} == {UNDECIDED}


def test_an_undefined_value_is_never_equal_and_never_equivalent():
    values = VALUES.copy()
    values[0, 0, 4] = math.nan
    found = by_what(compare(tree(cells(FIVE), VALUES), tree(cells(FIVE), values)))
    assert found[UNDEFINED, METRICS[0]].difference == 0.2
    assert found[VALUE, METRICS[0]].verdict == UNDECIDED
    assert found[VALUE, METRICS[1]].verdict == EQUAL
    found = by_what(compare(tree(cells(FIVE), values), tree(cells(FIVE), values)))
    assert {row.verdict for row in found.values()} == {EQUAL}
    other = [[cell.model_copy(update={"seed": cell.seed + 10}) for cell in row] for row in cells(FIVE)]
    found = by_what(compare(tree(cells(FIVE), VALUES), tree(other, values)))
    assert found[VALUE, METRICS[0]].verdict == UNDECIDED
    assert found[VALUE, METRICS[1]].method == "Welch's t"


def test_one_seed_is_undecided_unless_the_bits_are_equal():
    one, other = VALUES[:, :, :1], VALUES[:, :, :1] + 1
    assert {row.verdict for row in compare(tree(cells([0]), one), tree(cells([0]), one)).rows} == {EQUAL}
    assert {row.verdict for row in compare(tree(cells([0]), one), tree(cells([0]), other)).rows} == {UNDECIDED}
    found = compare(tree(cells(FIVE), VALUES), tree(cells([7]), other))
    assert {(row.verdict, row.p) for row in found.rows} == {(UNDECIDED, None)}


def test_two_constants_are_compared_by_fishers_test():
    a, b = np.full((4, 2, 5), 8.0), np.full((4, 2, 5), 7.0)
    found = compare(tree(cells(FIVE), a), tree(cells(FIVE), b))
    assert [row.p for row in found.rows] == [pytest.approx(2 / 252)] * 8
    assert not found.differs, "eight rows of five seeds are not enough"
    found = compare(tree(cells(FIVE), a), tree(cells([7, 8]), a[:, :, :2]))
    assert {row.verdict for row in found.rows} == {EQUAL}


def test_a_constant_offset_of_pairs_is_compared_unpaired():
    found = compare(tree(cells(FIVE), VALUES), tree(cells(FIVE), VALUES + 100))
    assert {(row.verdict, row.method) for row in found.rows} == {(DIFFERS, "Welch's t")}


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan, math.inf])
def test_a_margin_is_a_positive_number(factor):
    with pytest.raises(SintroError, match="is not legal"):
        compare(tree(cells(FIVE), VALUES), tree(cells(FIVE), VALUES), factor)


# --- folders


def counts(printed: str) -> dict[str, int]:
    """The first table's rows: verdict -> how many rows have it."""
    lines = [line.strip("│ ").split("│") for line in printed.splitlines() if line.startswith("│")][:4]
    return {name.strip(): int(count) for name, count, _ in lines}


def test_stored_results_are_equal_to_themselves(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["compare", str(STORED), str(STORED / "results"), "--out", str(out)]) == 0
    found = counts(capsys.readouterr().out)
    with (out / "compare.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert found == {DIFFERS: 0, UNDECIDED: 0, EQUIVALENT: 0, EQUAL: len(lines)}
    assert {line["dataset"] for line in lines} == {"8gaussians", "rings", "spirals", "digits"}
    assert {line["what"] for line in lines} == {VALUE, DIVERGED}
    page = (out / "compare.html").read_text()
    assert "every row is equal or equivalent" in page
    assert "http" not in page.split("</head>")[1]


def test_where_nothing_was_compared_nothing_is_called_equal(tmp_path):
    """Both sides have finished cells, each with a metric that the other lacks."""
    sides = []
    for metric in ("kl_published", "jsd_published"):
        side = Tree("made")
        for cell in (cell for row in cells(FIVE) for cell in row):
            side.cells[cell.path] = Result(cell, Path("."), "done", metrics={metric: 1.0})
        sides.append(side)
    found = compare(*sides)
    assert found.rows == []
    page, _ = compare_page.write(found, tmp_path)
    assert "no row could be compared" in page.read_text()
    assert "every row is equal" not in page.read_text()


def write(root: Path, seeds=FIVE, factor: float = 1.0, planted: str = "", **options) -> Path:
    """Write Table 1's rows on rings; the KL of the row with the planted prior is so many times as large."""

    def values(cell, metrics):
        if cell.prior == planted:
            metrics["kl_published"] *= factor
        return metrics

    write_cells(root, grid(datasets=("rings",), seeds=seeds), arrays=False, values=values, **options)
    return root


def test_seeds_against_other_seeds_do_not_differ(tmp_path, capsys):
    a, b = write(tmp_path / "a" / "results", range(2)), write(tmp_path / "b" / "results", range(2, 5))
    assert main(["compare", str(a), str(b)]) == 0
    found = counts(capsys.readouterr().out)
    assert found[DIFFERS] == 0
    assert found[EQUAL] == 8, "made-up cells have no noise in out_of_range"
    assert found[UNDECIDED] + found[EQUIVALENT] == 24
    assert main(["compare", str(a), str(b), "--margin", "100"]) == 0
    assert counts(capsys.readouterr().out)[EQUIVALENT] > found[EQUIVALENT]


def test_a_planted_difference_is_found_in_folders(tmp_path, capsys):
    a, b = write(tmp_path / "a"), write(tmp_path / "b", range(10, 15), 1.5, "vamp64")
    assert main(["compare", str(a), str(b), "--out", str(tmp_path / "out")]) == 1
    assert counts(capsys.readouterr().out)[DIFFERS] == 1
    with (tmp_path / "out" / "compare.csv").open(newline="") as file:
        (line,) = [line for line in csv.DictReader(file) if line["verdict"] == DIFFERS]
    assert (line["prior"], line["metric"], line["method"]) == ("vamp64", "kl_published", "Welch's t")
    values = [json.loads(path.read_text()) for path in sorted(a.glob("*/*/vae/vamp64/*/*/metrics.json"))]
    assert float(line["mean_a"]) == pytest.approx(np.mean([one["kl_published"] for one in values]))
    assert "some rows differ" in (tmp_path / "out" / "compare.html").read_text()


def test_a_difference_within_the_measurement_noise_is_grey(tmp_path, capsys):
    """Pooled over the cells of both sides; the verdict stays, and a larger difference stays as it is."""
    deviations = {"a": 0.3, "b": 0.4}  # root mean square 0.354
    for side, deviation in deviations.items():
        root = write(tmp_path / side, factor=1.0 if side == "a" else 1.5, planted="vamp64")
        for path in root.glob("*/*/vae/*/*/seed0/metrics.json"):
            content = json.loads(path.read_text())
            content["kl_published"] += 0.2 * (side == "b")
            path.write_text(json.dumps(content | {noise.NOISE: {"kl_published": deviation}}))
    found = compare(read_tree(tmp_path / "a"), read_tree(tmp_path / "b"), 0.001)
    rows = {row.group[3]: row for row in found.rows if row.metric == "kl_published" and row.group[2] == "vae"}
    small, large = rows["normal"], rows["vamp64"]
    assert small.noise == pytest.approx(math.sqrt((0.3**2 + 0.4**2) / 2))
    assert small.difference == pytest.approx(0.2 / 5)
    assert (small.is_noise, large.is_noise) == (True, False)
    assert not any(row.is_noise for row in found.rows if row.metric != "kl_published")
    main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "out")])
    capsys.readouterr()
    page = (tmp_path / "out" / "compare.html").read_text()
    count = sum(row.is_noise for row in found.rows)
    assert page.count('<td class="noise" title="smaller than the measurement noise, 0.35">') == count
    console = Console(width=250, color_system="truecolor", force_terminal=True)
    with console.capture() as shown:
        console.print(*compare_page.tables(found))
    (line,) = [line for line in shown.get().splitlines() if "· vae · normal" in line and "KL (published)" in line]
    assert "\x1b[90m0.04 " in line
    assert " ~" in line
    assert "~ smaller than the measurement noise" in shown.get()


def test_what_else_differs_is_listed(tmp_path, capsys):
    a, b = write(tmp_path / "a"), write(tmp_path / "b", range(4), torch="2.11.0", hostname="[bold]<b>node2</b>")
    cell = grid(datasets=("rings",), seeds=[0])[0]
    write_cell(b, cell.model_copy(update={"study": "quick"}), arrays=False)
    folder = Path(b, *Path(cell.path).parts[1:])
    record = json.loads((folder / "cell.json").read_text())
    record["settings"]["batch_size"] = 17
    (folder / "cell.json").write_text(json.dumps(record))
    for name in ("provenance.json", "metrics.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | {"digest": "another"}))
    (folder.parent / "seed1" / "metrics.json").write_text("{cut")
    (folder.parent / "seedling").mkdir()
    (folder.parent / "seed2" / "metrics.json").unlink()
    one, other = read_tree(a), read_tree(b)
    assert list(other.refused) == [f"{'/'.join(folder.parts[-6:-1])}/seedling"]
    assert origins.settings_that_differ(one, other) == [("batch_size", "512", "17", 1)]
    versions = {found.name: found for found in origins.versions_that_differ(one, other)}
    assert set(versions) == {"torch", "hostname"}
    assert versions["torch"][1:3] == ("2.13.0+cpu", "2.11.0")
    missing = origins.unmatched(one, other)
    assert [found.side for found in missing] == ["A"] * (8 + 2) + ["B"]
    assert any(found.other.startswith("unreadable: ") for found in missing)
    assert main(["compare", str(a), str(b), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "[bold]<b>node2</b>" in printed
    assert "seedling" in printed
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "&lt;b&gt;node2" in page
    assert "<b>node2" not in page


def test_a_value_of_an_older_definition_is_no_value(tmp_path):
    a, b = write(tmp_path / "a"), write(tmp_path / "b")
    for path in b.glob("*/*/vae/normal/*/*/metrics.json"):
        content = json.loads(path.read_text())
        content["metric_versions"]["kl_published"] = 1
        path.write_text(json.dumps(content))
    found = compare(read_tree(a), read_tree(b))
    ((group, metric, side, why),) = found.one_sided
    assert (group[3], metric, side) == ("normal", "kl_published", "B")
    assert "older definition" in why
    assert not [row for row in found.rows if row.group == group and row.metric == metric]
    assert found.of(EQUAL) == found.rows


def test_an_archive_is_a_side_like_any_other(repository, capsys):
    packed = repository / "archive" / "detection.zip"
    tree = read_tree(packed)
    assert len(tree.finished) == len(studies.load("detection").cells())
    assert main(["compare", str(packed), str(packed)]) == 0
    assert "equal" in capsys.readouterr().out
    assert compare(tree, read_tree(packed)).of(EQUAL) == compare(tree, tree).rows


def test_links_are_followed_and_a_broken_one_hides_nothing(tmp_path):
    shutil.copytree(STORED / "results", tmp_path / "results")
    (tmp_path / "results" / "loop").symlink_to("loop")
    (tmp_path / "results" / "gone").symlink_to("nowhere")
    assert open_tree(tmp_path) == open_tree(tmp_path / "results") == tmp_path / "results"
    (tmp_path / "linked").symlink_to(tmp_path / "results")
    assert len(read_tree(tmp_path / "linked").finished) == 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "a"], "'nowhere' does not exist; legal is a folder results, one that holds it, or an archive"),
        (["", "a"], "'' does not exist"),
        (["~nobody", "a"], "'~nobody' does not exist"),
        (["a", "file"], "file is refused: "),
        (["a", "empty"], "'empty' holds no cell results/<study>/<dataset>"),
        (["a", "strange"], "'strange' holds no cell"),
        (["a", "other"], "have no finished cells in common"),
        (["a", "a", "--margin", "0"], "margin 0 is not legal"),
        (["a", "a", "--margin", "nan"], "margin nan is not legal"),
        (["a", "a", "--out", "file"], "file"),
        (["a"], "sintro compare --help"),
    ],
)
def test_bad_input_gets_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_cells(tmp_path / "a", grid(datasets=("rings",), seeds=[0]), arrays=False)
    write_cells(tmp_path / "other", grid(datasets=("spirals",), seeds=[0]), arrays=False)
    Path("file").write_text("")
    Path("empty").mkdir()
    Path("strange/quick/rings/nothing/normal/none/seed0").mkdir(parents=True)
    assert main(["compare", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_estimate_is_what_it_says():
    assert Estimate("paired t", 0.0, 1.0, 4).p == 1.0


def test_a_folder_that_cannot_be_read_is_listed_and_stops_no_other(tmp_path, monkeypatch):
    a = write(tmp_path / "a")
    denied = a / "table1" / "rings" / "vae"
    listed = os.listdir

    def refuse(folder):
        if Path(folder) == denied:
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(os, "listdir", refuse)
    found = read_tree(a)
    assert len(found.finished) == 5 * 5
    assert found.refused == {"table1/rings/vae": f"{denied} cannot be read: Permission denied"}


def test_metrics_that_only_seeds_outside_the_pairs_have_are_listed(tmp_path):
    a, b = write(tmp_path / "a", range(2)), write(tmp_path / "b", range(3))
    for path in b.glob("*/*/vae/normal/*/seed[01]/metrics.json"):
        content = json.loads(path.read_text())
        del content["kl_published"]
        path.write_text(json.dumps(content))
    ((group, *rest),) = compare(read_tree(a), read_tree(b)).one_sided
    why = "an older evaluation did not measure it: evaluate again"
    assert (group[3], *rest) == ("normal", "kl_published", "B", why)


def test_frechet_distances_are_of_the_features_that_both_sides_have():
    cell = Cell(study="table2", dataset="mnist", objective="vae", prior="normal", regularizers="none", seed=0)
    stored = {"fid_published": 1.0, "cfid_published": 2.0, "recall_published": 0.5}

    def with_metrics(*names):
        metrics = {name: stored[name] for name in names}
        return Tree("made", {cell.path: Result(cell, Path("."), "done", metrics=metrics)})

    both, without_inception = with_metrics(*stored), with_metrics("cfid_published", "recall_published")
    assert [row.metric for row in compare(both, both).rows] == ["fid_published", "recall_published"]
    assert [row.metric for row in compare(both, without_inception).rows] == ["cfid_published", "recall_published"]
