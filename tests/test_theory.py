"""The exact equilibrium: best responses against general solvers, laws of the fixed point, the third player."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.special import lambertw, softmax
from test_report import Page

from sintro import SintroError, report
from sintro.__main__ import main
from sintro.theory import experiment, play, prior
from sintro.theory import game as g

SETTINGS = [(2, 2.0, 0.3), (3, 2.0, 1.0), (5, 0.5, 0.05), (6, 2.0, 2.0), (8, 2.0, 0.5)]


def made(points: int, alpha: float, gamma: float, seed: int = 0) -> tuple[g.Game, np.random.Generator]:
    rng = np.random.default_rng([seed, points])
    return g.Game(rng.dirichlet(np.full(points, 2.0)), alpha, gamma), rng


def solved(loss, points: int, rng: np.random.Generator, starts: int = 12) -> np.ndarray:
    """The best of several general searches over softmax logits: knows nothing of how the game is solved."""
    found = [
        minimize(lambda logits: loss(softmax(logits)), 3 * rng.standard_normal(points), method="BFGS")
        for _ in range(starts)
    ]
    return softmax(min(found, key=lambda one: one.fun).x)


@pytest.mark.parametrize(("points", "alpha", "gamma"), SETTINGS)
def test_the_minimiser_is_the_one_that_a_general_solver_finds(points, alpha, gamma):
    game, rng = made(points, alpha, gamma)
    ours = g.decoder_response(game, np.zeros(points))
    theirs = solved(lambda model: g.criterion(game, model), points, rng)
    assert g.criterion(game, ours) <= g.criterion(game, theirs) + 1e-12
    assert np.abs(ours - theirs).max() < 1e-4


def test_where_it_is_convex_a_convex_solver_agrees():
    data = np.array([0.2, 0.25, 0.3, 0.25])
    game = g.Game(data, 2.0, 0.2)  # gamma <= min p
    found = minimize(
        lambda d: g.criterion(game, d), np.full(4, 0.25), method="SLSQP", bounds=[(1e-9, 1)] * 4,
        constraints={"type": "eq", "fun": lambda d: d.sum() - 1}, options={"ftol": 1e-15},
    )  # fmt: skip
    assert found.success
    np.testing.assert_allclose(g.decoder_response(game, np.zeros(4)), found.x, atol=1e-6)
    assert len(g.decoder_candidates(game, np.zeros(4))) == 1


@pytest.mark.parametrize(("points", "alpha", "gamma"), SETTINGS)
def test_the_decoders_response_to_a_gap_is_the_best_that_a_general_solver_finds(points, alpha, gamma):
    game, rng = made(points, alpha, gamma, seed=1)
    gap = rng.exponential(1.0, points) * rng.integers(0, 2, points)
    ours = g.decoder_response(game, gap)
    theirs = solved(lambda model: -g.decoder_value(game, model, gap), points, rng)
    assert ours.sum() == pytest.approx(1, abs=1e-12)
    assert g.decoder_value(game, ours, gap) >= g.decoder_value(game, theirs, gap) - 1e-12
    assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize(("points", "alpha", "gamma"), SETTINGS)
def test_the_encoders_response_is_the_best_under_its_constraint(points, alpha, gamma):
    game, rng = made(points, alpha, gamma, seed=2)
    model = rng.dirichlet(np.full(points, 0.5))
    found = minimize(
        lambda gap: -g.encoder_value(game, gap, model), np.ones(points), method="L-BFGS-B", bounds=[(0, None)] * points,
        options={"ftol": 1e-15, "gtol": 1e-10},
    )  # fmt: skip
    ours = g.encoder_response(game, model)
    assert g.encoder_value(game, ours, model) >= -found.fun - 1e-12
    np.testing.assert_allclose(ours, found.x, atol=1e-3)
    # W = log p_d exactly where p_d^(alpha + 1) <= p_data, and W = log(p_data / p_d) / alpha elsewhere
    met = model ** (alpha + 1) <= game.data
    assert (ours[met] == 0).all()
    elbo = np.log(model) - ours
    np.testing.assert_allclose(elbo[~met], np.log(game.data / model)[~met] / alpha)
    assert (elbo <= np.log(model)).all()


@pytest.mark.parametrize("gamma", [0.0, 1e-6, 0.02, 0.4, 3.0])
def test_every_candidate_meets_the_conditions_of_a_local_maximum(gamma):
    game, _ = made(7, 2.0, gamma)
    closed = np.zeros(7)
    for model in g.decoder_candidates(game, closed):
        assert model.sum() == pytest.approx(1, abs=1e-12)
        slope = game.data / model + gamma * np.log(model)
        np.testing.assert_allclose(slope, slope.mean(), rtol=1e-9)
        curvature = np.diag((gamma * model - game.data) / model**2)
        along = np.linalg.svd(np.ones((1, 7)))[2][1:]  # directions that keep the sum
        assert np.linalg.eigvalsh(along @ curvature @ along.T).max() < 0
        if gamma:
            assert (model > game.data / gamma).sum() <= 1


def test_the_root_is_lamberts():
    c = 1 + np.geomspace(1e-6, 500, 200)
    np.testing.assert_allclose(g.larger_root(c), -lambertw(-np.exp(-c), -1).real, rtol=1e-9)
    huge = np.array([1.0, 1e3, 1e9])
    v = g.larger_root(huge)
    np.testing.assert_allclose(v - np.log(v), huge, rtol=1e-15)


@pytest.mark.parametrize("play_by", [play.by_best_responses, play.by_gradient])
@pytest.mark.parametrize(("points", "alpha", "gamma"), [s for s in SETTINGS if s[2] < 1])
def test_the_game_rests_at_the_minimiser_where_the_condition_holds(play_by, points, alpha, gamma):
    game, rng = made(points, alpha, gamma)
    minimiser = g.decoder_response(game, np.zeros(points))
    assert g.condition_holds(game, minimiser)
    ended = play_by(game, 2 * rng.standard_normal(points), 20_000)
    assert ended.at_rest
    assert g.total_variation(ended.end, minimiser) < 1e-6
    assert (g.encoder_response(game, ended.end) == 0).all()
    assert max(g.gains(game, np.zeros(points), ended.end)) < 1e-9


def test_where_the_condition_fails_the_minimiser_is_no_equilibrium():
    game = g.Game(np.array([0.6, 0.4]), 2.0, 2.0)
    minimiser = g.decoder_response(game, np.zeros(2))
    assert not g.condition_holds(game, minimiser)
    assert g.gains(game, np.zeros(2), minimiser)[0] > 1e-3
    ended = play.by_best_responses(game, np.zeros(2), 200)
    assert ended.at_rest, "there is another one"
    assert max(g.gains(game, g.encoder_response(game, ended.end), ended.end)) < 1e-9
    assert g.total_variation(ended.end, minimiser) > 1e-3


def test_far_beyond_the_condition_best_responses_chase_each_other():
    game, rng = made(8, 2.0, 5.0)
    ended = play.by_best_responses(game, rng.standard_normal(8), 100)
    assert not ended.at_rest
    assert g.gains(game, g.encoder_response(game, ended.end), ended.end)[1] > 0.1


def test_the_fixed_point_tends_to_the_data_at_the_rate_of_first_order():
    game, _ = made(8, 2.0, 0.0)
    np.testing.assert_allclose(g.decoder_response(game, np.zeros(8)), game.data, rtol=1e-15)
    first = game.data * (np.log(game.data) + g.entropy(game.data))
    errors = []
    for gamma in (1e-2, 1e-3, 1e-4):
        model = g.decoder_response(g.Game(game.data, 2.0, gamma), np.zeros(8))
        errors.append(np.abs((model - game.data) / gamma - first).max())
    assert errors[1] < 0.2 * errors[0]
    assert errors[2] < 0.2 * errors[1]


def test_uniform_data_stay_uniform_until_gamma_breaks_the_symmetry():
    data = np.full(10, 0.1)
    for gamma in (0.01, 0.1, 0.3):
        np.testing.assert_allclose(g.decoder_response(g.Game(data, 2.0, gamma), np.zeros(10)), data, atol=1e-12)
    model = g.decoder_response(g.Game(data, 2.0, 2.0), np.zeros(10))
    assert model.max() > 0.5
    assert np.sort(model)[:-1] == pytest.approx(np.sort(model)[0])


def potential(game, model):
    """Phi of sintro/theory/play.py, which gradient play climbs; in nats."""
    below = np.minimum(model, game.data ** (1 / (game.alpha + 1)))  # up to here the gap is closed
    closed = below * (np.log(below) - 1)
    # int (log p - log u) / alpha du from there on to d
    beyond = ((model - below) * (np.log(game.data) + 1) - model * np.log(model) + below * np.log(below)) / game.alpha
    return float(np.sum(game.data * np.log(model) + game.gamma * (closed + beyond)))


@pytest.mark.parametrize("gamma", [0.3, 3.0])
def test_gradient_play_climbs_its_potential_by_its_gradient(gamma):
    game, rng = made(6, 2.0, gamma)
    start = rng.standard_normal(6)
    path = play.by_gradient(game, start, 300, 0.5).path
    climbed = [potential(game, model) for model in path]
    assert np.diff(climbed).min() > -1e-12
    step = np.log(path[1]) - np.log(path[0])
    slope = approx_fprime(start, lambda logits: potential(game, softmax(logits)))
    np.testing.assert_allclose(step - step.mean(), 0.5 * (slope - slope.mean()), atol=1e-6)


@pytest.mark.parametrize("latents", [1, 2, 3, 6])
def test_a_prior_with_the_decoder_reaches_the_same_p_d_and_one_with_the_encoder_does_not(latents):
    game, rng = made(6, 2.0, 0.3)
    minimiser = g.decoder_response(game, np.zeros(6))
    assert g.condition_holds(game, minimiser)
    blocks = prior.blocks_of(6, latents)
    ends = {kind: prior.play(game, blocks, kind, rng.dirichlet(np.ones(6)), 300).end for kind in prior.COOPERATION}
    assert g.total_variation(ends["decoder"], minimiser) < 1e-6
    masses = [ends["encoder"][b].sum() for b in blocks]
    np.testing.assert_allclose(masses, [game.data[b].sum() for b in blocks], atol=1e-8)
    assert (g.total_variation(ends["encoder"], minimiser) > 1e-3) == (latents > 1)
    assert prior.slope(game, blocks, minimiser, "decoder") < 1e-9
    for kind in ("encoder", "encoder-full"):
        assert (prior.slope(game, blocks, minimiser, kind) > 1e-3) == (latents > 1)
    if latents == 6:  # a decoder that can do nothing: the prior alone makes the model
        assert g.total_variation(ends["encoder"], game.data) < 1e-8


def test_three_players_agree_with_a_general_solver_on_prior_and_conditionals():
    """Full tables p(z) and g(x|z) that overlap, the exact posterior: the best of L_D is the two players' minimum."""
    game, rng = made(4, 2.0, 0.3)

    def loss(flat: np.ndarray) -> float:
        weights, tables = softmax(flat[:3]), softmax(flat[3:].reshape(3, 4), axis=1)
        joint = weights[:, None] * tables  # [Z, n]
        posterior = joint / joint.sum(0)
        elbo = np.sum(posterior * (np.log(joint) - np.log(posterior)), 0)
        return -float(np.sum((game.data + game.gamma * joint.sum(0)) * elbo))

    found = minimize(loss, rng.standard_normal(15), method="BFGS")
    model = softmax(found.x[:3]) @ softmax(found.x[3:].reshape(3, 4), axis=1)
    np.testing.assert_allclose(model, g.decoder_response(game, np.zeros(4)), atol=1e-4)


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_the_priors_response_is_the_best_that_a_general_solver_finds(kind):
    game, rng = made(6, 2.0, 0.3)
    blocks = prior.blocks_of(6, 3)
    model, gap = rng.dirichlet(np.ones(6)), rng.exponential(0.3, 6)
    index = np.repeat(np.arange(3), 2)
    inside = model / np.array([model[b].sum() for b in blocks])[index]

    def loss(weights: np.ndarray) -> float:
        elbo = np.log(weights[index] * inside) - gap
        generated = game.gamma * weights[index] * inside if kind == "decoder" else 0.0
        return -float(np.sum((game.data + generated) * elbo))

    ours = prior.prior_response(game, blocks, model, gap, kind)
    np.testing.assert_allclose(ours, solved(loss, 3, rng, 4), atol=1e-5)


def test_the_experiment_supports_the_claim_with_numbers_and_is_the_same_each_time(monkeypatch):
    monkeypatch.setattr(experiment, "SWEEP", (0.001, 0.1, 1.0, 5.0))
    result = experiment.run(4, 2.0, 0.3, 1)
    assert result == experiment.run(4, 2.0, 0.3, 1)
    assert [at["gamma"] for at in result["sweep"]] == [0.001, 0.1, 0.3, 1.0, 5.0]
    states = {finding["name"]: finding["state"] for finding in result["findings"]}
    assert states == {
        "minimiser": "as claimed", "limit": "as claimed", "prior with decoder": "as claimed",
        "prior with encoder": "as claimed", "beyond": "no claim",
    }  # fmt: skip
    assert result["verdict"] == "supported"
    json.dumps(result, allow_nan=False)


def test_a_fixed_point_elsewhere_contradicts_the_claim_and_none_leaves_it_open(monkeypatch):
    monkeypatch.setattr(experiment, "SWEEP", (0.001, 0.1))
    result = experiment.run(3, 2.0, 0.1, 0)
    result["sweep"][1]["responses"]["distance"] = 0.01
    assert experiment.verdict(experiment.judge(result)) == "contradicted"
    for at in result["sweep"]:
        at["condition"] = False
    result["prior"]["condition"] = False
    assert experiment.verdict(experiment.judge(result)) == "inconclusive"


@pytest.mark.parametrize(
    ("option", "value"),
    [("points", "1"), ("points", "51"), ("alpha", "0"), ("alpha", "inf"), ("gamma", "0"), ("gamma", "nan"),
     ("gamma", "11"), ("seed", "-1")],
)  # fmt: skip
def test_a_value_out_of_range_gets_one_line_with_the_legal_ones(option, value, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["theory", f"--{option}", value]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert f"error: {option} {value}" in printed.err
    assert "points 2 to 50" in printed.err
    assert "gamma 0.001 to 10" in printed.err
    assert list(tmp_path.iterdir()) == []


def test_what_no_game_can_tell_is_not_run(monkeypatch):
    """Of two points the sweep's games have one latent; where the condition fails, there are no others."""
    monkeypatch.setattr(experiment, "ROUNDS", {"responses": 150, "gradient": 200})
    states = {finding["name"]: finding for finding in experiment.run(2, 2.0, 10.0, 0)["findings"]}
    found = states["prior with encoder"]
    assert (found["state"], found["found"]) == ("not run", "no game was played in which p(z) matters (Z > 1)")


def test_the_ends_of_the_ranges_are_solved():
    for points, alpha, gamma in ((2, 0.1, 10.0), (50, 100.0, 0.001), (50, 0.1, 10.0), (2, 100.0, 10.0)):
        game, rng = made(points, alpha, gamma)
        for gap in (np.zeros(points), g.encoder_response(game, rng.dirichlet(np.ones(points)))):
            model = g.decoder_response(game, gap)
            assert model.sum() == pytest.approx(1, abs=1e-9)
            assert (model > 0).all()


def test_an_unreadable_result_is_one_line(tmp_path):
    from sintro.report import draw_theory

    Path(tmp_path, "result.json").write_text("[]")
    with pytest.raises(SintroError, match="run sintro theory again"):
        draw_theory(tmp_path)


def test_the_page_the_index_and_the_claims_show_the_result(write_study, repository, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "SWEEP", (0.001, 0.3, 3.0))
    for name in ("claims.yaml", "reported.csv"):
        Path("workflow", name).write_text((repository / "workflow" / name).read_text())
    report.build()
    assert not Path("reports/theory").exists()
    assert main(["theory", "--points", "3", "--gamma", "0.3"]) == 0
    folder = Path("results/theory/points3-alpha2-gamma0.3-seed0")
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert written == [folder / name for name in ("result.json", "trajectories.png", "fixed-points.png")]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written[1:])
    Path("results/theory/damaged").mkdir()
    Path("results/theory/damaged/result.json").write_text('{"verdict": "suppor')
    report.build()
    page = Page(Path("reports/theory/index.html"))
    assert "3 points, alpha 2, gamma 0.3, seed 0: C6 supported" in page.words
    assert "What this does not show" in page.words
    assert "damaged/result.json is not whole JSON" in page.words
    assert page.path.read_text().count("<svg ") == 2
    assert not page.images
    index = Page(Path("reports/index.html"))
    assert {"theory/index.html", "theory/index.html#3points-alpha2-gamma0.3-seed0"} <= set(index.links)
    assert "3points-alpha2-gamma0.3-seed0" in page.ids
    assert "C6 At the equilibrium the model minimises" in index.words
    assert "C6" in Page(Path("reports/claims.html")).ids
    assert "as claimed" in Page(Path("reports/claims.html")).words
