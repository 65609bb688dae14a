"""Precision, recall, density, coverage: hand-made examples, both counting conventions, the direction of each number."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.metrics import manifold
from sintro.metrics.manifold import precision_recall, published_precision_recall, standard_manifolds


def neighbour_distances(features, k, count_self=False):
    """Distance [N] of each of features[N, F] to its k-th neighbour within the set: the radii of its manifold."""
    return manifold._radii(features, manifold._mean(features), [k], count_self)[:, 0].sqrt()


GOLDEN = Path(__file__).parent / "golden"


def column(*values):
    return torch.tensor(values, dtype=torch.float32)[:, None]


def brute_force(real, generated, k, count_self):
    """The definition, spelt out over full distance matrices."""

    def radii(points):
        distances = torch.cdist(points.double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist")
        return distances.sort(1).values[:, k - 1 if count_self else k]  # column 0 is the point itself

    between = torch.cdist(real.double(), generated.double(), compute_mode="donot_use_mm_for_euclid_dist")
    precision = (between <= radii(real)[:, None]).any(0).double().mean().item()
    recall = (between <= radii(generated)).any(1).double().mean().item()
    return precision, recall


def test_hand_made_line():
    """Real 0 1 3: radii to the first neighbour 1, 1, 2. Generated 1.5 5.5 20: radii 4, 4, 14.5."""
    real, generated = column(0, 1, 3), column(1.5, 5.5, 20)
    assert neighbour_distances(real, 1).tolist() == [1, 1, 2]
    # 1.5 is inside the balls of 1 and 3; 5.5 is 2.5 away from 3, outside; 20 is outside. 0, 1, 3 are within 4 of 1.5.
    assert precision_recall(real, generated, k=1) == (pytest.approx(1 / 3), pytest.approx(1))


def test_counting_the_point_itself_by_hand():
    """With itself as first neighbour, k = 1 has radius 0 everywhere and k = 2 the radius of k = 1 without."""
    real, generated = column(0, 1, 3), column(1.5, 5.5, 20)
    assert neighbour_distances(real, 1, count_self=True).tolist() == [0, 0, 0]
    assert precision_recall(real, generated, k=1, count_self=True) == (0, 0)
    one_copy = precision_recall(real, column(1, 1.5, 20), k=1, count_self=True)
    assert one_copy == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert precision_recall(real, generated, k=2, count_self=True) == precision_recall(real, generated, k=1)


def test_published_k_4_with_the_point_is_k_3_without():
    real, generated = torch.randn(2, 200, 8, generator=torch.Generator().manual_seed(0))
    assert precision_recall(real, generated, 4, count_self=True) == precision_recall(real, generated, 3)
    assert precision_recall(real, generated, 3, count_self=True) != precision_recall(real, generated, 3)


def test_published_precision_and_recall_are_those_of_the_released_code():
    """Stage: features to shares. The released code's are float32 means of 450 and 500 yes or no: 1e-6."""
    expected = json.loads((GOLDEN / "image_metrics.json").read_text())
    arrays = np.load(GOLDEN / expected["file"])
    real, generated = (torch.from_numpy(arrays[name]) for name in ("real", "generated"))
    found = published_precision_recall(real, generated)
    assert found == (pytest.approx(expected["precision"], abs=1e-6), pytest.approx(expected["recall"], abs=1e-6))
    # 3 and 4 *other* points; 2 and 3, or the same number for both, are told apart.
    assert found[0] == precision_recall(real, generated, 3)[0]
    assert found[1] == precision_recall(real, generated, 4)[1]
    assert found[0] != precision_recall(real, generated, 2)[0]
    assert found[1] != precision_recall(real, generated, 3)[1]


@pytest.mark.parametrize("count_self", [False, True])
@pytest.mark.parametrize("block", [17, 64, 1000])
def test_blocks_do_not_matter(monkeypatch, count_self, block):
    monkeypatch.setattr(manifold, "BLOCK", block)
    generator = torch.Generator().manual_seed(1)
    real, generated = torch.randn(150, 6, generator=generator), 0.7 * torch.randn(90, 6, generator=generator)
    expected = brute_force(real, generated, 3, count_self)
    assert precision_recall(real, generated, 3, count_self) == pytest.approx(expected)
    assert min(expected) > 0


def test_collapsed_generator_has_high_precision_and_low_recall():
    generator = torch.Generator().manual_seed(2)
    real = torch.randn(500, 4, generator=generator)
    collapsed = real[:1] + 1e-3 * torch.randn(500, 4, generator=generator)  # one real point, again and again
    precision, recall = precision_recall(real, collapsed, 3)
    assert precision > 0.99
    assert recall < 0.02


def test_scattered_generator_has_low_precision_and_high_recall():
    generator = torch.Generator().manual_seed(3)
    real = 0.05 * torch.randn(500, 4, generator=generator)
    scattered = 3 * torch.randn(500, 4, generator=generator)
    precision, recall = precision_recall(real, scattered, 3)
    assert precision < 0.1
    assert recall > 0.5


def test_a_set_covers_itself():
    points = torch.randn(100, 5, generator=torch.Generator().manual_seed(4))
    assert precision_recall(points, points, 3) == (1, 1)
    assert precision_recall(points, points, 1, count_self=True) == (1, 1)  # radius 0: only copies are inside


def density_coverage(real, generated, k=manifold.COVERAGE_NEIGHBOURS):
    """Density and coverage with any k, which :func:`standard_manifolds` has for one."""
    found = manifold._Inside(real, generated, [k], None, False)
    return found.density(0), found.coverage(0)


def naive_density_coverage(real, generated, k):
    """Naeem et al. 2020, ball by ball, in plain Python."""
    hits, covered = 0, 0
    for i, centre in enumerate(real):
        others = sorted(math.dist(centre, point) for j, point in enumerate(real) if j != i)
        inside = sum(math.dist(centre, point) <= others[k - 1] for point in generated)
        hits += inside
        covered += inside > 0
    return hits / (k * len(generated)), covered / len(real)


@pytest.mark.parametrize("block", [7, 2048])
def test_density_and_coverage_are_the_definition_ball_by_ball(monkeypatch, block):
    monkeypatch.setattr(manifold, "BLOCK", block)
    real, generated = clouds(60, 45)
    for k in (1, 5):
        expected = naive_density_coverage(real.tolist(), generated.tolist(), k)
        assert density_coverage(real, generated, k) == pytest.approx(expected, abs=1e-12)
    found, _ = standard_manifolds(real, generated)
    assert (found["precision"], found["recall"]) == precision_recall(real, generated, 3)
    assert (found["density"], found["coverage"]) == density_coverage(real, generated, 5)


@pytest.mark.parametrize("kind", ["equal", "shifted", "collapsed", "more real ones"])
def test_all_four_are_those_of_the_authors_package(kind, monkeypatch, capsys):
    """prdc 0.2 of Naeem et al. 2020, with one k for all four; ours in blocks, theirs from the whole matrix."""
    prdc = pytest.importorskip("prdc", reason="pip install prdc==0.2")
    monkeypatch.setattr(manifold, "BLOCK", 64)
    random = np.random.default_rng(0)
    real, generated = random.normal(size=(300, 12)), random.normal(size=(250, 12))
    if kind == "shifted":
        generated = 0.6 * generated + 0.4
    if kind == "collapsed":
        generated = real[:5].repeat(50, 0) + 0.05 * generated
    if kind == "more real ones":
        generated = generated[:80]
    real, generated = torch.from_numpy(real), torch.from_numpy(generated)
    for k in (manifold.STANDARD_NEIGHBOURS, manifold.COVERAGE_NEIGHBOURS):
        theirs = prdc.compute_prdc(real.numpy(), generated.numpy(), nearest_k=k)
        precision, recall = precision_recall(real, generated, k)
        assert (precision, recall) == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-9)
        if k == manifold.STANDARD_NEIGHBOURS:
            assert standard_manifolds(real, generated)[0]["recall"] == recall
        else:
            ours = standard_manifolds(real, generated)[0]
            for name in ("density", "coverage"):
                assert ours[name] == pytest.approx(theirs[name], abs=1e-9), name
    assert "Num real" in capsys.readouterr().out


def test_equal_distributions_have_their_known_density_and_coverage():
    found = torch.tensor([density_coverage(*clouds(1000, 1000, seed)) for seed in range(8)])
    assert found[:, 0].mean().item() == pytest.approx(1, abs=0.03)
    assert found[:, 1].mean().item() == pytest.approx(1 - 0.5**5, abs=0.01)


def test_density_and_coverage_tell_collapse_from_noise():
    real, generated = clouds(500, 500)
    density, coverage = density_coverage(real, 0.2 * generated)  # crowded where data are dense
    assert density > 1.05
    assert coverage < 0.8
    noise = density_coverage(real, 3 * generated)
    assert noise[0] < 0.3
    assert density_coverage(real, real[:1].expand(500, -1))[1] < 0.05
    assert density_coverage(real, real)[1] == 1


def clouds(count, others, seed=0):
    """Two sets of normal points in the same 3 dimensions."""
    draws = generator(seed, "clouds")
    return (torch.randn(n, 3, generator=draws, dtype=torch.float64) for n in (count, others))


def test_near_neighbours_far_from_the_origin():
    """|a|^2 + |b|^2 - 2ab in float32 would give 0 or noise for every distance here."""
    offset = 3000.0
    points = column(0, 0.25, 0.75, 1.5) + offset
    assert neighbour_distances(points, 1).tolist() == pytest.approx([0.25, 0.25, 0.5, 0.75], rel=1e-9)
    assert precision_recall(points, column(0.125, 2.5) + offset, 1) == (0.5, 1)


def test_copies_of_a_point_are_neighbours():
    assert neighbour_distances(column(0, 0, 0, 7), 2).tolist() == [0, 0, 0, 7]


@pytest.mark.parametrize(
    ("real", "generated", "k", "message"),
    [
        (torch.zeros(5, 2), torch.zeros(5, 3), 3, "expected \\[N, F\\] and \\[M, F\\]"),
        (torch.zeros(5, 2), torch.zeros(3, 2), 3, "at least 4 points on each side; got 5 real and 3 generated"),
        (torch.zeros(5, 2), torch.zeros(5, 2), 0, "k >= 1"),
        (torch.zeros(5, 2), torch.full((5, 2), torch.nan), 3, "generated features hold values that are not finite"),
        (torch.zeros(5, 2), torch.full((5, 2), torch.inf), 3, "generated features hold values that are not finite"),
        (torch.full((5, 2), torch.nan), torch.zeros(5, 2), 3, "real features hold values that are not finite"),
        (torch.zeros(5, 2), torch.zeros(0, 2), 3, "got 5 real and 0 generated"),
        (torch.zeros(5, 2), torch.full((5, 2), 1e200, dtype=torch.float64), 3, "generated features hold values above"),
    ],
)
def test_bad_input_is_one_line(real, generated, k, message):
    with pytest.raises(SintroError, match=message):
        precision_recall(real, generated, k)
