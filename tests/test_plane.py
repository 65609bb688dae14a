"""Two-sample metrics in the plane: closed forms, brute force, a perfect model, and which error each one sees."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.data.densities import density
from sintro.metrics import METRICS, plane
from sintro.metrics import density as density_metrics
from sintro.metrics import floors as floors_of_the_plane
from sintro.metrics.definitions_2d import ERRORS
from sintro.metrics.manifold import COVERAGE_NEIGHBOURS

N = 2000


def sample(name="8gaussians", seed=0, n=N):
    points, labels = density(name).sample(n, generator(seed, "plane"))
    return points.double().numpy(), labels.numpy()


@pytest.fixture(scope="module")
def floors():
    """Mean and standard deviation over 6 draws of what a perfect model of 8gaussians scores."""
    draws = [plane.two_sample_metrics(sample(seed=2 * i)[0], sample(seed=2 * i + 1)[0]) for i in range(6)]
    values = {name: np.array([draw[name] for draw in draws]) for name in plane.NAMES}
    return {name: (found.mean(), found.std(ddof=1)) for name, found in values.items()}


def test_a_shift_has_its_closed_forms():
    """Sliced W2 of a shift by d: the root mean square of d cos over the angles, |d| / sqrt 2."""
    real, _ = sample()
    shift = np.array([0.3, -0.4])
    assert plane.sliced_w2(real, real + shift) == pytest.approx(0.5 / math.sqrt(2), rel=1e-9)
    assert plane.sliced_w2(real, real[::-1]) == 0
    far = np.array([1e4, 0.0])
    inner = plane._mean_distance(real)
    assert plane.energy_distance(real, real + far) == pytest.approx(2e4 - 2 * inner, rel=1e-6)


def test_agreement_with_brute_force():
    real, generated = sample(n=200)[0], sample(seed=1, n=200)[0] + 0.02
    within, between = cdist(real, real), cdist(real, generated)
    radii = np.sort(within, axis=1)[:, COVERAGE_NEIGHBOURS]
    inside = between <= radii[:, None]
    expected = inside.sum(0).mean() / COVERAGE_NEIGHBOURS, inside.any(1).mean()
    assert plane.density_and_coverage(real, generated) == pytest.approx(expected)
    both = np.concatenate((real, generated))
    distances = cdist(both, both)
    np.fill_diagonal(distances, np.inf)
    same = (distances.argmin(1) < 200) == (np.arange(400) < 200)
    assert plane.one_nna(real, generated) == pytest.approx(same.mean())
    pairs = 200 * 199
    energy = 2 * between.mean() - within.sum() / pairs - cdist(generated, generated).sum() / pairs
    assert plane.energy_distance(real, generated) == pytest.approx(energy)


def test_points_at_the_distance_of_the_kth_neighbour_are_inside_their_balls():
    """On a lattice, whose distances are counted in whole numbers; roots and squares round most of them."""
    rng = np.random.default_rng(0)
    real, generated = rng.integers(0, 20, (100, 2)), rng.integers(0, 20, (100, 2))
    within = np.square(real[:, None] - real).sum(-1)
    between = np.square(real[:, None] - generated).sum(-1)
    inside = between <= np.sort(within, axis=1)[:, [COVERAGE_NEIGHBOURS]]
    expected = inside.sum() / (COVERAGE_NEIGHBOURS * 100), inside.any(1).mean()
    for scale in (1.0, 0.1, 1 / 3):
        assert plane.density_and_coverage(real * scale, generated * scale) == pytest.approx(expected, abs=1e-12)


def test_what_a_perfect_model_scores(floors):
    error = {name: sd / math.sqrt(6) for name, (_, sd) in floors.items()}
    assert abs(floors["energy_distance"][0]) < 4 * error["energy_distance"] + 1e-4
    assert floors["density"][0] == pytest.approx(1, abs=4 * error["density"] + 0.005)
    assert floors["coverage"][0] == pytest.approx(1 - 0.5**5, abs=0.01)
    assert floors["one_nna"][0] == pytest.approx(0.5, abs=0.015)


def with_error(error):
    """Return real points of 8gaussians, and generated ones with one of the errors of ``ERRORS``."""
    real, _ = sample(seed=20)
    samples, labels = sample(seed=21, n=4 * N)
    rng = np.random.default_rng(0)
    if error == "noise around the data":
        return real, samples[:N] + rng.normal(0, 0.1, (N, 2))
    if error == "too narrow a shape":
        centres = np.array([samples[labels == part].mean(0) for part in range(8)])[labels]
        return real, (centres + 0.5 * (samples - centres))[:N]
    if error == "a part that is missing":
        return real, samples[labels != 0][:N]
    if error == "a part that is twice as heavy":
        kept = (labels == 0) | (rng.random(len(labels)) < 0.5)
        return real, samples[kept][:N]
    assert error == "copying the data"
    return real, real + rng.normal(0, 1e-6, (N, 2))


@pytest.mark.parametrize("error", ERRORS)
def test_each_kind_of_error_moves_the_metrics_that_the_page_says(floors, error):
    """By more than 6 standard deviations of a perfect model's score; the distances to noise and shape by no more."""
    found = plane.two_sample_metrics(*with_error(error))
    moved = {name: (found[name] - mean) / sd for name, (mean, sd) in floors.items()}
    for name, way in ERRORS[error].items():
        assert (moved[name] if way == "raises" else -moved[name]) > 6, name
    if "part" not in error:
        assert moved["sliced_w2"] < 3
    if "heavy" in error:
        assert max(abs(moved[name]) for name in ("density", "coverage", "one_nna")) < 3


def test_collapse_and_copies_are_seen():
    real, _ = sample(seed=20)
    rng = np.random.default_rng(0)
    collapsed = plane.two_sample_metrics(real, np.repeat(real[:1], N, 0) + rng.normal(0, 1e-4, (N, 2)))
    assert collapsed["coverage"] < 0.05
    copies = plane.two_sample_metrics(real, real + rng.normal(0, 1e-6, (N, 2)))
    assert copies["one_nna"] < 0.1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200, 1e16])
@pytest.mark.parametrize("count", [1, 200])
def test_samples_that_are_not_finite_or_beyond_all_digits_have_no_score(bad, count):
    real, generated = sample(n=200)[0], sample(seed=1, n=200)[0]
    generated[:count, 1] = bad
    assert all(math.isnan(value) for value in plane.two_sample_metrics(real, generated).values())


def test_one_far_sample_costs_the_energy_distance_no_digits():
    """The distance of shifted samples hardly moves with one of 1,000 sent to the farthest legal place."""
    real = np.random.default_rng(0).normal(size=(1000, 2))
    generated = np.random.default_rng(1).normal(size=(1000, 2)) + 3
    honest = plane.energy_distance(real, generated)
    generated[0] = [0.9 * plane.FARTHEST, 0]
    assert plane.energy_distance(real, generated) == pytest.approx(honest, rel=0.01)


@pytest.mark.parametrize("name", floors_of_the_plane.TABLE)
def test_the_table_of_floors_is_what_fresh_data_score(name):
    """Two draws computed anew, with streams of their own, against the ten of the table."""
    table = floors_of_the_plane.floor(name)
    target = density(name)
    for draw in range(2):
        pair = [target.sample(5000, generator(draw, f"own/{name}/{side}"))[0] for side in ("real", "generated")]
        for metric, value in plane.two_sample_metrics(*pair).items():
            mean, sd = table[metric]
            assert abs(value - mean) < 5 * sd, metric


def test_floors_of_other_numbers_of_points_are_computed():
    found = floors_of_the_plane.floor("rings", 300)
    assert set(plane.NAMES) < set(found)
    assert {name: found[name] for name in plane.NAMES} == floors_of_the_plane.plane_floor("rings", 300)
    assert found["kl"] == density_metrics.floor("rings", 300)["kl"]
    assert found["sliced_w2"][0] > 2 * floors_of_the_plane.floor("rings")["sliced_w2"][0]


@pytest.mark.slow
@pytest.mark.parametrize("name", floors_of_the_plane.TABLE)
def test_the_table_of_floors_is_its_own_computation(name):
    for metric, computed in floors_of_the_plane.plane_floor(name, 5000).items():
        assert floors_of_the_plane.floor(name)[metric] == pytest.approx(computed, rel=1e-3), metric


def test_definitions_say_what_is_better():
    """Where 1/2 is best, what is ranked is the distance from it."""
    metric = METRICS["one_nna"]
    assert [metric.ranked(value) for value in (0.5, 0.4, 0.75)] == pytest.approx([0, 0.1, 0.25])
    assert math.isnan(metric.ranked(math.nan))
    assert metric.lower_is_better
    assert METRICS["coverage"].lower_is_better is False
    assert METRICS["coverage"].ranked(0.4) == 0.4
    assert METRICS["kl_posterior"].lower_is_better is None
    assert {METRICS[name].form for name in plane.NAMES} == {"standard"}
    assert METRICS["density"].datasets == METRICS["coverage"].datasets == ("2d", "images")


def test_bad_input_is_one_line():
    real = sample(n=20)[0]
    for pair, words in [
        ((real, real[:5]), "20 real and 5 generated"),
        ((real[:5], real[:5]), "more than 5"),
        ((real, real[:0]), "shape"),
        ((np.full((20, 2), np.nan), real), "real: points that are not finite"),
    ]:
        with pytest.raises(SintroError, match=words):
            plane.two_sample_metrics(*pair)
