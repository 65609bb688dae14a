"""The metrics of a density, against the released code's numbers, SciPy, closed forms and laws."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import jensenshannon

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.cells.components import datasets
from sintro.data.densities import density
from sintro.metrics import METRICS
from sintro.metrics.density import (
    energies,
    energy_grid,
    energy_noise,
    floor,
    gnelbo,
    grid,
    grid_normalized,
    histogram_density,
    histogram_divergences,
    mode_coverage,
    normalized_nll,
    off_support,
)

GOLDEN = Path(__file__).parent / "golden"
NAMES = tuple(datasets("2d"))


@pytest.fixture(scope="module")
def golden():
    return json.loads((GOLDEN / "golden.json").read_text())


def normal(n, sd=1.0, mean=(0.0, 0.0), seed=0):
    return np.random.default_rng(seed).normal(size=(n, 2)) * sd + np.asarray(mean)


def probabilities(points, scale, bins):
    return (histogram_density(points, 2 * scale, bins) * (4 * scale / bins) ** 2).ravel()


# --- the released code's numbers


@pytest.mark.parametrize("key", ["sample_gauss", "sample_ring"])
def test_published_divergences_are_those_of_the_released_code(golden, key):
    """Stage: histogram and sums, all in float64 from the same float32 points. Tolerance: rounding."""
    expected = golden[key]
    points = np.load(GOLDEN / expected["file"])
    found = histogram_divergences(points["real"], points["fake"], expected["scale"], expected["bins"])
    assert found["kl_published"] == pytest.approx(expected["kl"], rel=1e-12)
    assert found["jsd_published"] == pytest.approx(expected["jsd"], rel=1e-12)
    assert found["entropy_published"] == pytest.approx(expected["entropy_proxy"], rel=1e-12)


def linear_energy(x):
    """Encoder mean 0.8 x and log-variance -1.5, decoder 1.1 z, standard normal prior: the golden file's model."""
    mean = 0.8 * x
    kl = 0.5 * (mean.square() + math.exp(-1.5) + 1.5 - 1).sum(-1)
    return kl + (x - 1.1 * mean).square().sum(-1)


def test_gnelbo_is_that_of_the_released_code(golden):
    """Stage: energies and their sum. The released code adds them up in float32, so relative 1e-6, its accuracy."""
    expected = golden["gnelbo"]
    points = torch.from_numpy(np.load(GOLDEN / expected["file"])["points"])
    scale = expected["range_limit"] / 2
    value = gnelbo(linear_energy, points, scale, grid_points=expected["grid_points"])
    assert value == pytest.approx(expected["value"], rel=1e-6)
    # The conventions are visible at this accuracy: a grid without its ends, or without the real points in the sum.
    other_grid = energy_grid(linear_energy, 2 * scale * 63 / 64, expected["grid_points"])
    on_points = energies(linear_energy, points)
    assert grid_normalized(on_points, other_grid) != pytest.approx(expected["value"], rel=1e-3)
    on_grid = energy_grid(linear_energy, 2 * scale, expected["grid_points"])
    assert float(on_points.mean() / on_grid.sum()) != pytest.approx(expected["value"], rel=1e-3)


# --- the standard forms


def with_outside(points, scale, bins):
    """Probabilities of the bins, and of one more for the points outside of them."""
    share = float((np.abs(points) <= 2 * scale).all(1).mean())
    return np.append(probabilities(points, scale, bins) * share, 1 - share)


@pytest.mark.parametrize("scale", [1, 2])
def test_standard_forms_are_scipys(scale):
    """Some points of either set lie outside the range: for the standard forms they are one more bin."""
    real, generated = normal(20_000, 0.8 * scale), normal(30_000, 0.9 * scale, (0.1, -0.2), seed=1)
    found = histogram_divergences(real, generated, scale, bins=20)
    p, q = with_outside(real, scale, 20), with_outside(generated, scale, 20)
    assert p.sum() == pytest.approx(1)
    assert min(p[-1], q[-1]) > 0.01
    assert found["out_of_range"] == pytest.approx(q[-1])
    assert found["jsd"] == pytest.approx(jensenshannon(p, q) ** 2, rel=1e-9)
    floored = q + 1e-14 * (4 * scale / 20) ** 2
    assert found["kl"] == pytest.approx(stats.entropy(p, floored), rel=1e-9)


def test_kl_without_empty_bins_needs_no_floor():
    rng = np.random.default_rng(0)
    real, generated = rng.uniform(-2, 2, (20_000, 2)), rng.uniform(-2, 2, (20_000, 2)) ** 3 / 4
    p, q = probabilities(real, 1, 10), probabilities(generated, 1, 10)
    assert (q > 0).all()
    assert histogram_divergences(real, generated, 1, bins=10)["kl"] == pytest.approx(stats.entropy(p, q), rel=1e-9)


def test_kl_is_that_of_the_densities():
    """With many points and wide bins the histogram KL is close to that of the two normal densities."""
    real, generated = normal(1_000_000, 0.4), normal(1_000_000, 0.5, seed=1)
    ratio = (0.4 / 0.5) ** 2
    found = histogram_divergences(real, generated, 1, bins=40)
    assert found["kl"] == pytest.approx(ratio - 1 - math.log(ratio), rel=0.05)  # two dimensions, 1/2 each


@pytest.mark.parametrize(("scale", "factor"), [(1, 6.25), (2, 1.5625)])
def test_published_kl_is_the_standard_one_times_a_factor(scale, factor):
    limit = 2 * scale  # with points out of range the two differ
    pair = normal(500, 0.5 * scale).clip(-limit, limit), normal(500, 0.6 * scale, seed=1).clip(-limit, limit)
    found = histogram_divergences(*pair, scale)
    assert found["kl_published"] == pytest.approx(factor * found["kl"], rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_equal_samples_score_zero(name):
    target = density(name)
    points, _ = target.sample(5000, generator(0, "test"))
    found = histogram_divergences(points, points.clone(), target.half_width / 2)
    for metric in ("kl_published", "jsd_published", "kl", "jsd"):
        assert found[metric] == pytest.approx(0, abs=1e-9), metric
    assert found["entropy_published"] > 1


def test_disjoint_samples_have_the_largest_jsd():
    found = histogram_divergences(normal(500, 0.05, (-1, 0)), normal(500, 0.05, (1, 0)), 1)
    assert found["jsd"] == pytest.approx(math.log(2), rel=1e-12)
    assert found["jsd_published"] > math.log(2)  # no bound there


def test_standard_jsd_is_symmetric_and_kl_is_not():
    real, generated = normal(2000, 0.3), normal(2000, 0.6, seed=1)
    one, other = (histogram_divergences(*pair, 1, bins=20) for pair in ((real, generated), (generated, real)))
    assert one["jsd"] == pytest.approx(other["jsd"], rel=1e-12)
    assert one["jsd_published"] == pytest.approx(other["jsd_published"], rel=1e-12)
    assert one["kl"] < 0.5 * other["kl"]  # real inside generated costs less than real where nothing is generated


def two_cells(left, right):
    """``left`` points in the one and ``right`` in the other bin of a 2 x 2 histogram's lower row."""
    return np.array([[-1.0, -1.0]] * left + [[1.0, -1.0]] * right)


def test_published_jsd_is_the_reverse_direction():
    """By hand: real (3/4, 1/4), generated (1/4, 3/4) in two bins of area 4 and two bins; mixture (1/2, 1/2)."""
    found = histogram_divergences(two_cells(3, 1), two_cells(1, 3), 1, bins=2)
    forward = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)  # KL(p || m) = KL(q || m)
    reverse = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)  # KL(m || p) = KL(m || q)
    assert found["jsd"] == pytest.approx(forward, rel=1e-9)
    assert found["jsd_published"] == pytest.approx(reverse / 4 / 2, rel=1e-9)  # a density is 1/area; divided by bins
    assert forward / reverse < 0.95


def test_kl_has_the_real_points_in_front():
    found = histogram_divergences(two_cells(3, 1), two_cells(1, 1), 1, bins=2)
    assert found["kl"] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-9)


def test_a_generated_empty_bin_costs_the_floor():
    found = histogram_divergences(two_cells(1, 1), two_cells(1, 0), 1, bins=2)
    assert found["kl"] == pytest.approx(0.5 * math.log(0.5) + 0.5 * math.log(0.5 / (4 * 1e-14)), rel=1e-9)


# --- edges of the histogram


PUBLISHED = ("kl_published", "jsd_published", "entropy_published")


def test_points_outside_the_range_are_dropped_from_the_published_forms_and_counted_in_the_standard_ones():
    real, inside = normal(2000, 0.5).clip(-2, 2), normal(2000, 0.5, seed=1).clip(-2, 2)
    outside = np.concatenate((inside, np.full((498, 2), 7.0), [[-2.1, 0.0], [0.0, 2.1]]))
    left, stayed = (histogram_divergences(real, generated, 1) for generated in (outside, inside))
    assert [left[name] for name in PUBLISHED] == [stayed[name] for name in PUBLISHED]
    assert (left["out_of_range"], stayed["out_of_range"]) == (0.2, 0.0)
    common = probabilities(real, 1, 100)[probabilities(inside, 1, 100) > 0].sum()
    cost = -common * math.log(0.8)  # a bin with samples has 0.8 of its mass, an empty one the floor as before
    assert left["kl"] == pytest.approx(stayed["kl"] + cost, rel=1e-6)
    assert left["jsd"] > stayed["jsd"] + 0.01
    reverse = histogram_divergences(outside, real, 1)
    assert [reverse[name] for name in PUBLISHED] == [histogram_divergences(inside, real, 1)[name] for name in PUBLISHED]
    assert reverse["out_of_range"] == 0.0
    assert reverse["kl"] > 0.2 * 25  # real mass where nothing is generated costs the floor


def test_a_perfect_model_of_data_that_leave_the_range_scores_zero():
    points = normal(2000, 1.0)
    found = histogram_divergences(points, points.copy(), 1)
    assert found["out_of_range"] > 0.05
    assert (found["kl"], found["jsd"]) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))


def test_the_ends_of_the_range_are_inside():
    ends = np.array([[-2.0, -2.0], [2.0, 2.0], [-2.0, 2.0]])
    assert histogram_density(ends, 2, bins=4).sum() * 1.0 == pytest.approx(1)
    assert np.count_nonzero(histogram_density(ends, 2, bins=4)) == 3


def test_histogram_has_the_first_coordinate_in_front():
    counts = histogram_density(np.array([[1.5, -1.5]]), 2, bins=4)
    assert counts[3, 0] == pytest.approx(1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_generated_points_that_are_not_finite_are_in_common_with_nothing(bad):
    """As many real points lie beyond the range: a point there is alike, a point that is nowhere is not."""
    real, generated = np.concatenate((normal(498, 0.5), [[9.0, 0.0], [0.0, 9.0]])), normal(498, 0.5, seed=1)
    broken = histogram_divergences(real, np.concatenate((generated, [[bad, 0.0], [0.0, bad]])), 1)
    beyond = histogram_divergences(real, np.concatenate((generated, [[9.0, 0.0], [0.0, 9.0]])), 1)
    assert [broken[name] for name in PUBLISHED] == [beyond[name] for name in PUBLISHED]
    assert broken["out_of_range"] == beyond["out_of_range"] == 2 / 500
    for name in ("kl", "jsd"):
        assert broken[name] > beyond[name]


CLUSTER = normal(500, 0.05, (-1, 0))  # the real points of the laws about broken samples
DISJOINT = histogram_divergences(CLUSTER, normal(500, 0.05, (1, 0), seed=1), 1)
LOST = {
    "all NaN": np.full((500, 2), math.nan),
    "one coordinate NaN": np.column_stack((np.full(500, math.nan), CLUSTER[:, 1])),
    "all inf": np.full((500, 2), math.inf),
    "all -inf": np.full((500, 2), -math.inf),
    "NaN and inf": np.array([[math.nan, 0.0], [math.inf, 0.0]] * 250),
    "all out of range": np.full((500, 2), 9.0),
    "just out of range": np.full((500, 2), np.nextafter(2.0, 3.0)),
    "out of range and NaN": np.array([[9.0, 0.0], [math.nan, 0.0]] * 250),
    "huge": np.full((500, 2), 1e300),
    "one point, out of range": np.array([[9.0, 9.0]]),
}


@pytest.mark.parametrize("generated", LOST.values(), ids=LOST)
def test_samples_of_which_none_is_in_range_are_never_good(generated):
    """Published: undefined, as the released histogram gives (NumPy's density of no points). Standard: the worst."""
    for real in (CLUSTER, np.concatenate((CLUSTER, np.full((5, 2), 9.0)))):
        found = histogram_divergences(real, generated, 1)
        disjoint = histogram_divergences(real, normal(500, 0.05, (1, 0), seed=1), 1)
        assert all(math.isnan(found[name]) for name in PUBLISHED)
        assert found["out_of_range"] == 1.0
        assert found["jsd"] == math.log(2)
        assert found["kl"] == pytest.approx(disjoint["kl"], rel=1e-12)
        assert found["kl"] > 25


@pytest.mark.filterwarnings("ignore:invalid value")
def test_the_released_histogram_of_no_points_in_range_is_nan():
    density, _, _ = np.histogram2d([9.0], [9.0], bins=10, range=((-2, 2), (-2, 2)), density=True)
    assert np.isnan(density).all()


BROKEN = {
    "half NaN": np.where(np.arange(500)[:, None] % 2, math.nan, CLUSTER),
    "half inf": np.where(np.arange(500)[:, None] % 2, math.inf, CLUSTER),
    "half out of range": np.where(np.arange(500)[:, None] % 2, 9.0, CLUSTER),
    "all but one NaN": np.where(np.arange(500)[:, None], math.nan, CLUSTER),
    "all but one out of range": np.where(np.arange(500)[:, None], 9.0, CLUSTER),
}


@pytest.mark.parametrize("generated", BROKEN.values(), ids=BROKEN)
def test_losing_samples_always_costs(generated):
    """Against the same samples without the lost ones; the share that is lost stands beside the published forms."""
    kept = generated[(np.abs(generated) <= 2).all(1)]
    found, clean = (histogram_divergences(CLUSTER, samples, 1) for samples in (generated, kept))
    assert found["out_of_range"] == pytest.approx(1 - len(kept) / len(generated))
    assert found["jsd"] > clean["jsd"]
    assert found["kl"] > clean["kl"]
    assert [found[name] for name in PUBLISHED] == [clean[name] for name in PUBLISHED]


def test_the_cost_grows_with_the_share_that_is_lost():
    points = normal(5000, 0.5, seed=1).clip(-2, 2)
    scores = []
    for share in (0.0, 0.1, 0.3, 0.6, 0.9):
        broken = points.copy()
        broken[: int(share * len(points))] = math.nan
        scores.append(histogram_divergences(points, broken, 1))
    for name in ("kl", "jsd", "out_of_range"):
        assert np.all(np.diff([score[name] for score in scores]) > 0), name


def test_one_wrong_point_again_and_again_is_not_better_than_disjoint_samples():
    found = histogram_divergences(CLUSTER, np.full((500, 2), 1.7), 1)
    for name in ("kl", "jsd", "kl_published", "jsd_published"):
        assert found[name] >= DISJOINT[name] * (1 - 1e-12), name


def test_no_real_point_inside_is_an_error():
    with pytest.raises(SintroError, match=r"real: no point inside \[-2, 2\]\^2"):
        histogram_divergences(np.full((3, 2), 9.0), normal(5), 1)
    with pytest.raises(SintroError, match="real: points that are not finite"):
        histogram_divergences(np.array([[0.0, 0.0], [math.nan, 0.0]]), normal(5), 1)


@pytest.mark.parametrize("shape", [(5,), (5, 3), (0, 2), (2, 5, 2)])
def test_points_of_a_wrong_shape_are_an_error(shape):
    with pytest.raises(SintroError, match=r"generated: the shape is .* must be \[N, 2\]"):
        histogram_divergences(normal(5), np.zeros(shape), 1)


def test_tensors_and_arrays_give_the_same():
    real, generated = normal(500).astype(np.float32), normal(400, seed=1).astype(np.float32)
    tensors = histogram_divergences(torch.from_numpy(real), torch.from_numpy(generated).requires_grad_(), 1)
    assert tensors == histogram_divergences(real, generated, 1)
    assert all(type(value) is float for value in tensors.values())


# --- the energy metrics


def test_grid_has_both_ends_and_the_second_coordinate_runs_fastest():
    points = grid(4, 5)
    assert points.shape == (25, 2)
    assert points[:6].tolist() == [[-4, -4], [-4, -2], [-4, 0], [-4, 2], [-4, 4], [-2, -4]]
    assert energy_grid(lambda x: x[:, 0] * 10 + x[:, 1], 4, 5)[4, 0].item() == 36


def test_gnelbo_of_a_flat_energy_is_one_share():
    value = gnelbo(lambda x: torch.full((len(x),), 3.0), torch.zeros(100, 2), 1, grid_points=30)
    assert value == pytest.approx(1 / (30**2 + 100), rel=1e-12)


def test_gnelbo_does_not_depend_on_the_energys_unit_and_prefers_low_energy_at_the_data():
    points, _ = density("rings").sample(200, generator(0, "test"))

    def ring_energy(x):
        return 0.1 + (x.norm(dim=-1, keepdim=True) - torch.tensor([3, 2.25, 1.5, 0.75])).abs().amin(-1)

    value = gnelbo(ring_energy, points, 2, grid_points=64)
    assert gnelbo(lambda x: 1000 * ring_energy(x), points, 2, grid_points=64) == pytest.approx(value, rel=1e-6)
    assert value < 0.8 * gnelbo(lambda x: torch.ones(len(x)), points, 2, grid_points=64)
    assert gnelbo(ring_energy, points.numpy(), 2, grid_points=64) == value


def test_energies_are_evaluated_in_chunks_with_the_same_result():
    points = torch.randn(103, 2, generator=generator(0, "test"))
    sizes = []

    def energy(x):
        sizes.append(len(x))
        assert not torch.is_grad_enabled()
        return x.square().sum(-1)

    assert torch.equal(energies(energy, points, chunk=10), energies(energy, points, chunk=1000))
    assert max(sizes[:-1]) == 10
    assert sum(sizes[:-1]) == 103
    with pytest.raises(SintroError, match="chunk: 0"):
        energies(energy, points, chunk=0)


def test_many_energies_add_up_without_loss():
    """In float32 a running sum of a million terms would be off by far more."""
    value = gnelbo(lambda x: torch.full((len(x),), 0.1), torch.zeros(10, 2), 1, grid_points=1024)
    assert value == pytest.approx(1 / (1024**2 + 10), rel=1e-12)


def test_an_energy_of_the_wrong_shape_is_an_error():
    with pytest.raises(SintroError, match=r"energy: shape \[16, 2\], but must be \[16\]"):
        gnelbo(lambda x: x, torch.zeros(7, 2), 1, grid_points=4)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_energy_that_is_not_finite_gives_nan(bad):
    good, on_grid = torch.ones(5), torch.ones(4, 4)
    broken, broken_grid = torch.ones(5), torch.ones(4, 4)
    broken[2] = broken_grid[1, 2] = bad
    for pair in ((broken, on_grid), (good, broken_grid)):
        assert math.isnan(grid_normalized(*pair))
        assert math.isnan(normalized_nll(*pair, 2))


def test_slightly_negative_energies_count_but_not_a_sum_below_zero():
    on_grid = torch.ones(4, 4)
    assert grid_normalized(torch.tensor([1.0, -0.5]), on_grid) == pytest.approx(0.25 / 16.5)
    assert math.isnan(grid_normalized(torch.tensor([-1.0, -20.0]), on_grid))
    assert math.isnan(grid_normalized(torch.zeros(2), torch.zeros(4, 4)))


def test_normalized_nll_of_a_normal_density():
    """With e = -log N(x) + constant it is the cross-entropy, here the entropy of the normal: 1 + log(2 pi sd^2)."""
    sd = 0.3
    points = torch.from_numpy(normal(40_000, sd))

    def energy(x):
        return x.square().sum(-1) / (2 * sd**2) + 17.0

    value = normalized_nll(energies(energy, points), energy_grid(energy, 2, 256), 2)
    assert value == pytest.approx(1 + math.log(2 * math.pi * sd**2), abs=0.02)


@pytest.mark.parametrize("scale", [1, 2])
def test_normalized_nll_of_a_flat_energy_is_the_log_of_the_area(scale):
    value = normalized_nll(torch.full((9,), 5.0), torch.full((33, 33), 5.0), 2 * scale)
    assert value == pytest.approx(math.log((4 * scale) ** 2), rel=1e-12)


# --- coverage and support


@pytest.mark.parametrize("name", NAMES)
def test_real_data_cover_every_part(name):
    target = density(name)
    points, labels = target.sample(5000, generator(0, "test"))
    assert mode_coverage(points, target) == target.labels
    assert off_support(points, target) < 0.002
    for missing in range(target.labels):
        kept = points[labels != missing]
        expected = target.labels - 1
        # The spirals' arms touch at the origin, but not by a tenth of an arm.
        assert mode_coverage(kept, target) == expected, f"without {target.part} {missing}"


def test_coverage_counts_samples_on_the_support_only():
    target = density("8gaussians")
    assert mode_coverage(target.centres.repeat(10, 1), target) == 8
    assert mode_coverage(target.centres.repeat(10, 1) * 1.1, target) == 0
    assert off_support(target.centres * 1.1, target) == 1.0
    # A mode needs a tenth of its share: 10 of 800 samples, and not 9.
    for count, covered in ((10, 2), (9, 1)):
        samples = torch.cat((target.centres[:1].expand(800 - count, 2), target.centres[3:4].expand(count, 2)))
        assert mode_coverage(samples, target) == covered


def test_off_support_counts_bridges_and_broken_samples():
    target = density("rings")
    on, _ = target.sample(60, generator(0, "test"))
    on = on[target.on_support(on)]
    bridge = torch.tensor([[0.0, 2.625]]).expand(len(on), 2)
    broken = torch.full((len(on), 2), math.nan)
    assert off_support(torch.cat((on, bridge)), target) == 0.5
    assert off_support(torch.cat((on, broken)).numpy(), target) == 0.5


# --- the floor

# KL and JSD (published) of a perfect model, means of 10 draws of the published code.
FLOORS = {"8gaussians": (0.61, 0.28), "spirals": (6.79, 3.15), "checkerboard": (17.2, 8.07), "rings": (7.74, 3.69)}


@pytest.mark.parametrize("name", NAMES)
def test_floor_is_that_of_the_published_code(name):
    """Two means of 10 draws: their difference has standard deviation sd sqrt(2/10); three of those are allowed."""
    found = floor(name)
    for metric, expected in zip(("kl_published", "jsd_published"), FLOORS[name], strict=True):
        mean, sd = found[metric]
        assert sd > 0
        assert abs(mean - expected) < 3 * sd * math.sqrt(2 / 10), metric


@pytest.mark.parametrize("name", NAMES)
def test_floor_is_far_from_a_wrong_density(name):
    target = density(name)
    real, _ = target.sample(5000, generator(1, "test"))
    mean, sd = floor(name)["kl"]
    assert 0 < sd < 0.3 * mean
    moved = histogram_divergences(real, target.sample(5000, generator(2, "test"))[0] + 0.5, target.half_width / 2)["kl"]
    assert moved > mean + 10 * sd


def test_floor_is_deterministic_and_falls_with_more_points():
    first = floor("rings", points=1000, draws=3)
    floor.cache_clear()
    assert floor("rings", points=1000, draws=3) == first
    assert floor("rings", points=4000, draws=3)["kl"][0] < 0.7 * first["kl"][0]
    assert floor("rings", points=1000, draws=3)["modes_covered"] == (4.0, 0.0)


def test_floor_of_an_unknown_density_is_an_error():
    with pytest.raises(SintroError, match="unknown density 'moons'"):
        floor("moons")


# --- the table of definitions


def test_every_computed_number_is_defined():
    computed = {*histogram_divergences(normal(5), normal(5), 1), *floor("rings", points=1000, draws=3)}
    assert computed <= set(METRICS)
    for name, metric in METRICS.items():
        assert name == metric.name
        assert metric.label
        assert metric.definition.endswith(".")
        assert metric.source
        assert set(metric.datasets) <= {"2d", "images"}
        assert metric.datasets
        assert (metric.form == "published") == name.endswith("_published") or name.startswith(("svc", "knn"))


def test_labels_tell_metrics_apart():
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)


def test_the_noise_of_gnelbo_is_the_spread_over_draws_of_its_points():
    """The standard errors, against 400 draws of the real points; the grid stays."""
    draws = generator(0, "energies")
    grid_energies = torch.rand(20, 20, generator=draws).double() * 5
    values, errors = [], []
    for _ in range(400):
        energies = torch.rand(300, generator=draws).double().square() * 3
        values.append((grid_normalized(energies, grid_energies), normalized_nll(energies, grid_energies, 2.0)))
        errors.append(energy_noise(energies, grid_energies))
    np.testing.assert_allclose(np.mean(errors, 0), np.std(values, 0, ddof=1), rtol=0.12)
    pairs = energies.repeat(2)  # of mirrored points that have the same energy
    assert energy_noise(pairs, grid_energies, mirrored=True)[1] == pytest.approx(
        energy_noise(energies, grid_energies)[1]
    )
    assert all(map(math.isnan, energy_noise(torch.full((3,), torch.nan), grid_energies)))
