"""Claims: a planted difference is found, a planted null is not, and a bad entry is a clear error."""

import math
from dataclasses import replace
from pathlib import Path

import made_cells
import numpy as np
import pytest
from scipy import stats

from sintro import SintroError
from sintro.cells import components, studies
from sintro.cells.cell import Cell
from sintro.cells.components import datasets
from sintro.metrics import noise
from sintro.report.numbers import claim_files, claims
from sintro.report.numbers.results import Result, read_cells
from sintro.report.numbers.words import ABSENT
from sintro.report.pages.overview import contrast_plot, contrast_view, difference_in_words

DENSITIES = tuple(datasets("2d"))

ENTRY = """
claims:
  X1:
    title: A is lower than B
    source: this test
    contrasts:
      - name: first
        metric: kl_published
        expect: lower
        a: {objective: soft-introvae, prior: "mog*-learned", regularizers: clip}
        b: {objective: soft-introvae, prior: "mog*-fixed", regularizers: none}
"""


def write(tmp_path: Path, text: str = ENTRY) -> Path:
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    return path


def made(values, states=(), seeds=5, priors=("mog64-learned", "mog64-fixed"), datasets=DENSITIES) -> list[Result]:
    """Results without folders: ``values(cell)`` is the KL, ``states`` maps (prior, dataset, seed) to another state."""
    found = []
    for prior in priors:
        for dataset in datasets:
            for seed in range(seeds):
                regularizers = "clip" if "learned" in prior else "none"
                cell = Cell(study="t", dataset=dataset, objective="soft-introvae", prior=prior,
                            regularizers=regularizers, seed=seed)  # fmt: skip
                state = dict(states).get((prior, dataset, seed), "done")
                metrics = {"kl_published": values(cell)} if state == "done" else {}
                found.append(Result(cell, Path(cell.path), state, metrics=metrics))
    return found


def judged(tmp_path, results, text=ENTRY) -> claims.Verdict:
    return claims.judge(claim_files.load(write(tmp_path, text))["X1"], results)


def test_a_planted_difference_is_found_in_both_directions(tmp_path):
    rng = np.random.default_rng(0)
    planted = made(lambda cell: rng.normal(10 - 2 * ("learned" in cell.prior), 1))
    assert judged(tmp_path, planted).verdict == "supported"
    planted = made(lambda cell: rng.normal(10 + 2 * ("learned" in cell.prior), 1))
    assert judged(tmp_path, planted).verdict == "contradicted"


def test_a_difference_within_the_measurement_noise_is_grey_in_the_forest_plot(tmp_path):
    """Of one data set of two here, so that the contrast's mean over both keeps its colour; then of both."""
    deviations = {"rings": 0.5, "spirals": 0.05}

    def results(scale):
        found = made(lambda cell: 5.0 + 0.2 * ("fixed" in cell.prior) + 0.01 * cell.seed**2, datasets=tuple(deviations))
        for result in found:
            if result.cell.seed == noise.SEED:
                measured = {"kl_published": scale * deviations[result.cell.dataset]}
                object.__setattr__(result, "extra", {noise.NOISE: measured})
        return found

    verdict = judged(tmp_path, results(1))
    (outcome,) = verdict.outcomes
    assert {stratum.label: (stratum.noise, stratum.is_noise) for stratum in outcome.strata} == {
        "rings 64": (pytest.approx(0.5), True), "spirals 64": (pytest.approx(0.05), False),
    }  # fmt: skip
    assert not outcome.is_noise
    legend = "grey and hollow: smaller than the measurement noise"
    assert legend in contrast_plot("X1", "t", verdict)
    verdict = judged(tmp_path, results(10))
    assert verdict.outcomes[0].is_noise
    assert contrast_view(verdict.outcomes[0], verdict.outcomes[0])["noise"]
    assert legend not in contrast_plot("X1", "t", judged(tmp_path, results(0.01)))


def test_a_planted_null_is_not_found_more_often_than_promised(tmp_path):
    """Two contrasts over four data sets and five seeds: verdicts other than inconclusive in about 5% of the worlds."""
    text = ENTRY.replace("mog*", "mog6*")
    text += text[text.index("      - name") :].replace("first", "second").replace("mog6*", "mog3*")
    claim = claim_files.load(write(tmp_path, text))["X1"]
    rng = np.random.default_rng(1)
    priors = [f"mog{k}-{life}" for k in (64, 32) for life in ("learned", "fixed")]
    wrong = 0
    for _ in range(200):
        null = made(lambda cell: rng.normal(10, 1), priors=priors)
        wrong += claims.judge(claim, null).verdict != "inconclusive"
    assert wrong / 200 < stats.binom.ppf(0.9999, 200, 0.05) / 200


SPEAKING = {  # which contrasts a study's cells fill: how many of each claim
    "table1-short": {"C1": 4, "C2": 0, "C3": 0, "C4": 0, "C7": 4, "C9": 1},
    "clipping-short": {"C1": 0, "C2": 2, "C3": 0, "C4": 0, "C7": 0, "C9": 1},
    "fmnist-small": {"C1": 2, "C2": 0, "C3": 5, "C4": 4, "C7": 2, "C9": 1},
    "fmnist-small-carried": {"C1": 2, "C2": 0, "C3": 5, "C4": 4, "C7": 2, "C9": 1},
}


@pytest.mark.parametrize("study", SPEAKING)
def test_the_shipped_claims_speak_of_the_short_studies(study, repository, monkeypatch, tmp_path):
    """Each from its own cells alone; an image cell has cFID where FID's network is not, as here."""
    monkeypatch.setenv("SINTRO_STUDIES", str(repository / "workflow" / "studies"))

    def values(cell, metrics):
        missing = ("fid", "ood_inverted", "ood_noise")  # the latter two are of digits alone
        metrics |= {"ood_uniform_elbo_auroc": 0.7} if cell.dataset in DENSITIES else {}
        return {name: value for name, value in metrics.items() if not name.startswith(missing)}

    cells = studies.load(study).cells()
    made_cells.write_cells(tmp_path, cells, values=values, arrays=False)
    results = read_cells(cells, tmp_path)
    shipped, seeds = claim_files.load(repository / "workflow" / "claims.yaml"), len({cell.seed for cell in cells})
    for name, expected in SPEAKING[study].items():
        outcomes = [outcome for outcome in claims.judge(shipped[name], results).outcomes if outcome.pairs]
        assert len(outcomes) == expected, name
        for outcome in outcomes:
            assert {len(stratum.pairs) for stratum in outcome.strata} == {seeds}, outcome.contrast.name


def test_contrasts_that_no_paper_makes_are_named_as_ours(repository):
    for claim in claim_files.load(repository / "workflow" / "claims.yaml").values():
        for contrast in claim.contrasts:
            ours = contrast.metric.startswith("cfid") or "mog10-" in contrast.a.prior
            assert ours == contrast.name.endswith("(a contrast of this suite)"), contrast.name


def test_verdicts_need_seeds(tmp_path):
    one = judged(tmp_path, made(lambda cell: 8.0 if "learned" in cell.prior else 10.0, seeds=1))
    assert one.verdict == "inconclusive"
    assert one.outcomes[0].state == "too few seeds"
    assert judged(tmp_path, []).verdict == "not run"
    assert judged(tmp_path, made(lambda cell: 1.0, priors=("mog64-learned",))).verdict == "not run"
    assert judged(tmp_path, made(lambda cell: math.nan)).verdict == "no number"


def test_stars_pair_equal_names_only(tmp_path):
    mixed = made(lambda cell: float(cell.seed), priors=("mog64-learned", "mog32-fixed"))
    assert judged(tmp_path, mixed).verdict == "not run"
    both = made(lambda cell: float(cell.seed), priors=("mog64-learned", "mog32-learned", "mog64-fixed", "mog32-fixed"))
    outcome = judged(tmp_path, both).outcomes[0]
    assert {s.label for s in outcome.strata} == {f"{d} {k}" for d in DENSITIES for k in ("64", "32")}
    assert outcome.pairs == 2 * 4 * 5


def test_lost_pairs_are_counted(tmp_path):
    states = {("mog64-learned", "rings", 0): "diverged", ("mog64-fixed", "rings", 1): "unreadable"}
    outcome = judged(tmp_path, made(lambda cell: math.nan if cell.seed == 4 else 1.0, states)).outcomes[0]
    assert outcome.pairs == 4 * 4 - 2
    assert outcome.lost == 4 + 2
    assert outcome.lost_alone == (1, 1)
    assert contrast_view(outcome, outcome)["lost"] == "6 (A alone 1, B alone 1)"


def test_cells_that_are_to_come_lose_no_pair(tmp_path):
    states = {("mog64-fixed", dataset, seed): "missing" for dataset in DENSITIES for seed in range(5)}
    outcome = judged(tmp_path, made(lambda cell: 1.0, states)).outcomes[0]
    assert (outcome.state, outcome.pairs, outcome.lost) == ("not run", 0, 0)


@pytest.mark.parametrize(
    ("planted", "diverged", "verdict"),
    [
        (9, (), "supported"),
        (9, ("mog64-learned",), "inconclusive"),
        (9, ("mog64-fixed",), "supported"),
        (9, ("mog64-learned", "mog64-fixed"), "supported"),
        (11, ("mog64-learned",), "contradicted"),
        (11, ("mog64-fixed",), "inconclusive"),
    ],
)
def test_no_contrast_favours_a_side_that_lost_pairs_alone(planted, diverged, verdict, tmp_path):
    rng = np.random.default_rng(7)
    states = {(prior, dataset, 3): "diverged" for prior in diverged for dataset in DENSITIES}
    found = made(lambda cell: rng.normal(planted if "learned" in cell.prior else 10, 0.1), states)
    assert judged(tmp_path, found).verdict == verdict


def test_a_margin_must_be_exceeded(tmp_path):
    rng = np.random.default_rng(2)
    slightly = made(lambda cell: rng.normal(10 - 0.5 * ("learned" in cell.prior), 0.1))
    assert judged(tmp_path, slightly).verdict == "supported"
    assert judged(tmp_path, slightly, ENTRY + "        margin: 0.1\n").verdict == "inconclusive"


def test_a_constant_is_tested_by_the_one_sample_t_test(tmp_path):
    """Against the strata's t-tests by SciPy and Stouffer's sum by hand; B's name and its stars are not needed."""
    text = ENTRY.replace(
        '        b: {objective: soft-introvae, prior: "mog*-fixed", regularizers: none}', "        constant: 10"
    )
    rng = np.random.default_rng(5)
    found = made(lambda cell: rng.normal(9.5, 1), {("mog64-learned", "rings", 0): "diverged"})
    outcome = judged(tmp_path, found, text).outcomes[0]
    assert (outcome.pairs, outcome.lost) == (19, 1)
    scores = []
    for dataset in DENSITIES:
        values = [r.metrics["kl_published"] for r in found
                  if r.state == "done" and r.cell.dataset == dataset and "learned" in r.cell.prior]  # fmt: skip
        scores.append(stats.norm.isf(stats.ttest_1samp(values, 10, alternative="less").pvalue))
    assert outcome.p_for == pytest.approx(stats.norm.sf(sum(scores) / 2))
    first = outcome.strata[0]
    mean = np.mean([a for a, _ in first.pairs])
    assert first.relative[0] == pytest.approx(10 * (10 - mean))
    for planted, verdict in ((8, "supported"), (12, "contradicted")):
        assert judged(tmp_path, made(lambda cell, m=planted: rng.normal(m, 1)), text).verdict == verdict
    assert judged(tmp_path, made(lambda cell: 1.0, priors=("mog64-fixed",)), text).verdict == "not run"


def test_divergence_is_compared_by_mcnemar(tmp_path):
    text = ENTRY.replace("kl_published", "diverged")
    states = {("mog64-fixed", d, s): "diverged" for d in DENSITIES for s in range(3)}
    verdict = judged(tmp_path, made(lambda cell: 1.0, states), text)
    assert verdict.verdict == "supported"
    assert verdict.outcomes[0].p_for == pytest.approx(stats.binomtest(12, 12, alternative="greater").pvalue)
    assert judged(tmp_path, made(lambda cell: 1.0), text).verdict == "inconclusive"


def test_the_last_value_of_a_history_can_be_compared(tmp_path):
    cells = [
        Cell(study="t", dataset="rings", objective="soft-introvae", prior=p, regularizers=r, seed=s)
        for p, r in (("mog8-learned", "clip"), ("mog8-fixed", "none"))
        for s in range(4)
    ]
    found = []
    for cell in cells:
        folder = made_cells.write_cell(tmp_path, cell)
        lines = (folder / "history.csv").read_text().splitlines()
        last = 1.0 + cell.seed / 10 + 5 * (cell.regularizers == "none") * (1 + cell.seed / 50)
        (folder / "history.csv").write_text("\n".join([*lines, lines[-1].rsplit(",", 1)[0] + f",{last}"]) + "\n")
        found.append(Result(cell, folder, "done"))
    verdict = judged(tmp_path, found, ENTRY.replace("kl_published", "final:prior_log_var_max"))
    assert verdict.outcomes[0].strata[0].pairs[0] == (1.0, 6.0)
    assert verdict.verdict == "supported"
    assert claims.value_of(replace(found[0], state="diverged"), "final:prior_log_var_max") is None


def test_the_shipped_claims_are_legal_and_hold_where_planted(repository, tmp_path):
    shipped = claim_files.load(repository / "workflow" / "claims.yaml")
    assert set(shipped) == {"C1", "C2", "C3", "C4", "C5", "C7", "C8", "C9", "C9-prior"}
    rng = np.random.default_rng(3)
    results = []
    for cell in made_cells.grid():
        noisy = {name: value * rng.normal(1, 0.01) for name, value in made_cells.density_metrics(cell).items()}
        results.append(Result(cell, Path(cell.path), "done", metrics=noisy))
    verdicts = {name: claims.judge(claim, results).verdict for name, claim in shipped.items()}
    assert verdicts["C1"] == verdicts["C7"] == "supported"
    assert verdicts["C4"] == verdicts["C5"] == verdicts["C2"] == verdicts["C8"] == "not run"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kl_published", "kl_publishd", ["X1", "first", "kl_publishd", "did you mean 'kl_published'"]),
        ("kl_published", "final:prior", ["final:prior"]),
        ("        b: {", "        c: {", ["c", "unknown key", "constant"]),
        ("        b: {", "        constant: 1.0\n        b: {", ["first", "b", "constant", "both"]),
        ("        b: {", "        constant: .nan\n        # {", ["constant", "finite"]),
        ("        b: {", "        # {", ["first", "b", "constant", "none"]),
        ("expect: lower", "expect: smaller", ["expect", "smaller", "lower"]),
        ("expect: lower", "direction: lower", ["direction", "unknown key"]),
        ("        expect: lower\n", "", ["expect", "missing"]),
        ('"mog*-fixed"', "normal", ["prior", "1 * in a", "0 in b"]),
        ("expect: lower", "expect: lower\n        datasets: [ring]", ["ring", "rings"]),
        ("expect: lower", "expect: lower\n        margin: -1", ["margin", "-1"]),
        ("claims:", "claim:", ["claim", "claims"]),
    ],
)
def test_a_bad_entry_is_a_clear_error(tmp_path, old, new, words):
    with pytest.raises(SintroError) as caught:
        claim_files.load(write(tmp_path, ENTRY.replace(old, new, 1)))
    message = str(caught.value)
    assert "\n" not in message
    assert "claims.yaml" in message
    assert all(word in message for word in words), message


def test_divergence_has_no_constant(tmp_path):
    text = ENTRY[: ENTRY.index("        b: {")].replace("kl_published", "diverged") + "        constant: 0\n"
    with pytest.raises(SintroError, match="needs pairs"):
        claim_files.load(write(tmp_path, text))


def test_no_file_means_no_claims(tmp_path):
    assert claim_files.load(tmp_path / "claims.yaml") == {}


def test_the_standard_form_is_judged_beside_the_published_one(tmp_path: Path) -> None:
    claim = claim_files.load(write(tmp_path, ENTRY))["X1"]
    assert [c.metric for c in claim.contrasts] == ["kl_published"]
    assert [c.metric for c in claim.in_standard_form().contrasts] == ["kl"]
    rng = np.random.default_rng(0)
    found = made(lambda cell: rng.normal(10 - 2 * ("learned" in cell.prior), 0.1))
    for result in found:
        result.metrics["kl"] = -result.metrics["kl_published"]  # a form that turns the order around
    assert claims.judge(claim, found).verdict == "supported"
    assert claims.judge(claim.in_standard_form(), found).verdict == "contradicted"
    assert claims.judge(claim, found).seeds == (5, 5)


def test_a_metric_of_one_form_stays_as_it_is(tmp_path: Path) -> None:
    claim = claim_files.load(write(tmp_path, ENTRY.replace("kl_published", "final:prior_log_var_max")))["X1"]
    assert claim.in_standard_form() == claim


POOLED = """
claims:
  X1:
    title: stable
    source: s
    contrasts:
      - name: first
        metric: unstable
        expect: lower
        pool: mean
        a: {objective: "soft-introvae-rec*", prior: normal, regularizers: none}
        b: {objective: "introvae-rec*", prior: normal, regularizers: none}
"""


def grid_results(covered, states=None):
    """Two Soft-IntroVAE and two IntroVAE cells per density and seed; covered(cell) -> parts covered."""
    tokens = ["soft-introvae-rec1-kl1-neg1", "soft-introvae-rec1-kl2-neg1"]
    tokens += ["introvae-rec1-kl1-neg1-margin1", "introvae-rec1-kl1-neg1-margin5"]
    found = []
    for dataset in DENSITIES:
        for token in tokens:
            for seed in range(3):
                cell = Cell(study="t", dataset=dataset, objective=token, prior="normal", regularizers="none", seed=seed)
                state = (states or {}).get((token, seed), "done")
                metrics = {"modes_covered": covered(cell), "kl_published": 1.0} if state == "done" else {}
                found.append(Result(cell, Path(cell.path), state, metrics=metrics))
    return found


def test_instability_is_pooled_over_the_grid_and_counts_divergence_and_collapse(tmp_path):
    parts = {"8gaussians": 8, "spirals": 2, "checkerboard": 8, "rings": 4}

    def covered(cell):  # one of IntroVAE's two settings covers exactly half: collapsed
        return parts[cell.dataset] / (2 if cell.margin == 1 else 1)

    states = {("introvae-rec1-kl1-neg1-margin5", 2): "diverged"}
    outcome = judged(tmp_path, grid_results(covered, states), POOLED).outcomes[0]
    assert outcome.pairs == 4 * 3
    assert all(s.pairs == ((0.0, 0.5), (0.0, 0.5), (0.0, 1.0)) for s in outcome.strata)
    missing = {("introvae-rec1-kl1-neg1-margin5", 2): "missing"}
    outcome = judged(tmp_path, grid_results(covered, missing), POOLED).outcomes[0]
    assert (outcome.pairs, outcome.lost) == (4 * 2, 0)  # a part of the grid is not the grid, and the rest is to come
    found = grid_results(covered)
    for i, result in enumerate(found):
        if result.cell.seed == 2 and result.cell.margin == 5:
            found[i] = replace(result, metrics={})
    outcome = judged(tmp_path, found, POOLED).outcomes[0]
    assert (outcome.pairs, outcome.lost) == (4 * 2, 4)  # nor is it without the number of a finished cell


def test_a_run_collapses_at_half_of_the_densitys_parts():
    from sintro.metrics.collapse import collapsed

    for name, density in components.datasets("2d").items():
        half = density.labels // 2
        assert collapsed(name, half)
        assert not collapsed(name, half + 1)


EVERY = """
claims:
  X1:
    title: A is better than B, and leaks no more
    source: this test
    every: true
    contrasts:
      - name: error
        metric: transfer_mse
        expect: lower
        a: &a {objective: soft-introvae, prior: normal, regularizers: none}
        b: &b {objective: vae, prior: normal, regularizers: none}
      - {name: leakage, metric: leakage_class, expect: lower, allowance: 0.05, a: *a, b: *b}
"""


def of_translation(errors, leaks) -> list[Result]:
    """Cells of solids over seeds; ``errors`` and ``leaks`` are the differences of A from B, seed by seed."""
    found = []
    for seed, (error, leak) in enumerate(zip(errors, leaks, strict=True)):
        base = {"transfer_mse": 0.02 + 0.001 * seed, "leakage_class": 0.4 - 0.01 * seed}
        for objective, change in (("vae", (0, 0)), ("soft-introvae", (error, leak))):
            values = [value + more for value, more in zip(base.values(), change, strict=True)]
            cell = Cell(
                study="t", dataset="solids", objective=objective, prior="normal", regularizers="none", seed=seed
            )
            metrics = dict(zip(base, values, strict=True))
            found.append(Result(cell, Path(cell.path), "done", metrics=metrics))
    return found


BETTER, WORSE = (-0.0010, -0.0012, -0.0011), (0.0010, 0.0012, 0.0011)


@pytest.mark.parametrize(
    ("errors", "leaks", "verdict", "states"),
    [
        (BETTER, (0.03, 0.02, 0.025), "supported", ["as claimed", "as claimed"]),  # worse, by less than 0.05
        (BETTER, (0.09, 0.08, 0.085), "contradicted", ["as claimed", "against"]),
        (BETTER, (0.09, -0.08, 0.03), "inconclusive", ["as claimed", "undecided"]),
        ((0.001, -0.001, 0.0005), (0.0, 0.01, 0.005), "inconclusive", ["undecided", "as claimed"]),
        (WORSE, (0.0, 0.01, 0.005), "contradicted", ["against", "as claimed"]),
        (BETTER[:2], (0.0, 0.01), "inconclusive", ["too few seeds", "too few seeds"]),
    ],
)
def test_a_claim_of_which_every_contrast_must_hold(errors, leaks, verdict, states, tmp_path):
    found = judged(tmp_path, of_translation(errors, leaks), EVERY)
    assert [outcome.state for outcome in found.outcomes] == states
    assert found.verdict == verdict


def test_not_worse_is_a_one_sided_95_percent_bound_below_the_allowance(tmp_path):
    for leaks in ((0.030, 0.020, 0.025), (0.045, 0.015, 0.030), (0.048, 0.030, 0.035), (0.049, 0.040, 0.047)):
        differences = np.array(leaks)
        half = stats.t.ppf(0.95, 2) * stats.sem(differences)
        outcome = judged(tmp_path, of_translation(BETTER, leaks), EVERY).outcomes[1]
        assert (outcome.state == "as claimed") == (differences.mean() + half < 0.05)
        expected = stats.ttest_1samp(differences, 0.05, alternative="less").pvalue
        assert outcome.adjusted == pytest.approx(min(expected, 1 - expected))


def test_seeds_that_are_all_alike_give_no_test_and_metrics_without_values_no_number(tmp_path):
    alike = judged(tmp_path, of_translation((-0.5, -0.5, -0.5), BETTER), EVERY).outcomes[0]
    assert (alike.state, alike.pairs) == ("no spread", 3)
    unmeasured = judged(tmp_path, of_translation((math.nan,) * 3, BETTER), EVERY).outcomes[0]
    assert (unmeasured.state, unmeasured.lost) == ("no number", 3)


def test_a_claim_of_not_worse_shows_what_is_allowed(tmp_path):
    verdict = judged(tmp_path, of_translation(BETTER, (0.03, 0.02, 0.025)), EVERY)
    assert difference_in_words(verdict.outcomes[1]) == "-0.025; -0.05 is allowed"
    assert "the allowance" in contrast_plot("X1", "t", verdict)


def test_numbers_of_both_signs_have_no_percentage(tmp_path):
    def outcome(shift: float) -> claims.Outcome:
        values = {"mog64-learned": 2.0 - shift, "mog64-fixed": 1.0 - shift}
        return judged(tmp_path, made(lambda cell: values[cell.prior] + 0.1 * cell.seed)).outcomes[0]

    assert difference_in_words(outcome(0.0)) == "-83.3% (-83.3% to -83.3%)"
    assert difference_in_words(outcome(1.5)) == ABSENT


def test_an_allowance_goes_with_no_margin(tmp_path):
    with pytest.raises(SintroError, match="allowance: legal without a margin"):
        claim_files.load(write(tmp_path, EVERY.replace("allowance: 0.05", "allowance: 0.05, margin: 0.1")))
