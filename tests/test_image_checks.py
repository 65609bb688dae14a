"""Copies, classes, modes and likeness of images: independent sources, laws and the direction of each number."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import linregress

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.evaluation.image_arrays import spherical
from sintro.metrics import classes, manifold
from sintro.metrics.extrapolation import SIZES, infinite_distance, intercept
from sintro.metrics.fid import FeatureStatistics, distances_to, frechet_distance
from sintro.metrics.manifold import nearest_real, standard_manifolds
from sintro.metrics.similarity import psnr, ssim

# --- likeness of two images


def pair(channels=3, side=24, seed=0):
    draws = torch.rand(2, 4, channels, side, side, generator=generator(seed, "pair"))
    return draws[0], 0.7 * draws[0] + 0.3 * draws[1]


def scipy_ssim(first, second):
    """Wang et al. 2004 with SciPy's Gaussian filter: a radius of 5 pixels at truncate 3.5, borders cut off."""

    def blurred(image):
        return gaussian_filter(image, 1.5, truncate=3.5)[5:-5, 5:-5]

    mean1, mean2 = blurred(first), blurred(second)
    variance1, variance2 = blurred(first**2) - mean1**2, blurred(second**2) - mean2**2
    covariance = blurred(first * second) - mean1 * mean2
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean1 * mean2 + c1) * (2 * covariance + c2)
    return (top / ((mean1**2 + mean2**2 + c1) * (variance1 + variance2 + c2))).mean()


def test_structural_similarity_is_scipys_filters():
    first, second = pair()
    expected = [
        np.mean([scipy_ssim(a, b) for a, b in zip(one, other, strict=True)])
        for one, other in zip(first.double().numpy(), second.double().numpy(), strict=True)
    ]
    assert ssim(first, second).tolist() == pytest.approx(expected, abs=1e-12)
    assert max(expected) < 0.95


def test_likeness_of_equal_shifted_and_small_images():
    first, second = pair()
    assert ssim(first, first).tolist() == pytest.approx([1.0] * 4)
    ceiling = 20 * math.log10(2 * 255)  # half an 8-bit level
    assert psnr(first, first).tolist() == pytest.approx([ceiling] * 4)
    mixed = torch.cat([psnr(first, first), psnr(first, second)])
    assert mixed.isfinite().all(), "a pair of equal images makes no mean infinite"
    assert psnr(torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 1 / 255)).item() == pytest.approx(ceiling - 6.0206)
    assert psnr(first, torch.full_like(first, math.nan)).isnan().all()
    grey = torch.full((1, 1, 16, 16), 0.5)
    assert psnr(grey, grey + 0.1).item() == pytest.approx(20, abs=1e-4)  # -20 log10 .1
    assert psnr(grey, grey + 9).item() == pytest.approx(psnr(grey, grey + 0.5).item()), "clipped"
    ones, halves = 0.4, 0.6  # of flat images SSIM is the luminance term alone
    expected = (2 * ones * halves + 1e-4) / (ones**2 + halves**2 + 1e-4)
    for side in (8, 11, 32):  # the window is 7, 11 and 11 pixels
        flat = torch.ones(1, 1, side, side)
        assert ssim(ones * flat, halves * flat).item() == pytest.approx(expected, abs=1e-6)
    assert ssim(first, 1 - first).max() < 0  # inverted
    noise = [ssim(first, first + spread * torch.randn(first.shape, generator=generator(1, "noise"))).mean().item()
             for spread in (0.02, 0.1, 0.4)]  # fmt: skip
    assert sorted(noise, reverse=True) == noise
    with pytest.raises(SintroError, match=r"expected the same \[B, C, H, W\]"):
        ssim(first, second[:2])


# --- classes and modes


def test_class_shares_and_their_distance_by_hand():
    found = classes.shares(torch.tensor([0, 0, 1, 3]), 4)
    assert found.tolist() == [0.5, 0.25, 0, 0.25]
    assert classes.total_variation(found, torch.tensor([0.25] * 4)) == 0.25
    assert classes.total_variation(torch.tensor([1.0, 0]), torch.tensor([0, 1.0])) == 1
    with pytest.raises(SintroError, match="there are no images"):
        classes.shares(torch.tensor([], dtype=torch.long), 3)


def test_the_floor_of_class_shares_is_the_mean_over_multinomial_draws():
    data = torch.tensor([0.5, 0.2, 0.2, 0.05, 0.05], dtype=torch.float64)
    rng = np.random.default_rng(0)
    drawn, known = (rng.multinomial(n, data.numpy(), 4000) / n for n in (1000, 4000))
    expected = 0.5 * np.abs(drawn - known).sum(1).mean()
    assert classes.total_variation_floor(data, 1000, 4000) == pytest.approx(expected, rel=0.02)
    assert classes.total_variation_floor(torch.tensor([1.0, 0]), 10, 10) == 0


def test_purity_is_one_where_modes_are_classes_and_at_its_floor_where_they_are_not():
    components = torch.arange(3000) % 30
    pure = components % 10
    assert classes.table(torch.tensor([0, 0, 1]), torch.tensor([2, 2, 0]), 2, 3).tolist() == [[0, 0, 2], [1, 0, 0]]
    assert classes.purity(classes.table(components, pure, 30, 10)) == 1
    random = torch.randint(10, (3000,), generator=generator(0, "classes"))
    mixed = classes.purity(classes.table(components, random, 30, 10))
    floors = [classes.purity_floor(components, told, 30, 10) for told in (pure, random)]
    assert floors == pytest.approx([mixed] * 2, abs=0.02)
    assert mixed < 0.3
    assert classes.purity(torch.tensor([[6, 2], [1, 1]])) == 0.7


# --- copies


def points(count, size, seed=0):
    return torch.rand(count, size, generator=generator(seed, "points"), dtype=torch.float64)


@pytest.mark.parametrize("block", [3, 2048])
def test_the_nearest_real_point_by_hand(monkeypatch, block):
    """Real 0 1 3 7, whose own neighbours are 1, 1, 2, 4 away."""
    monkeypatch.setattr(manifold, "BLOCK", block)
    real = torch.tensor([0.0, 1, 3, 7])[:, None]
    found = nearest_real(real, torch.tensor([1.5, 12, 3, -1, 3.5])[:, None])
    assert found.index.tolist() == [1, 3, 2, 0, 2]
    assert found.ratio.tolist() == pytest.approx([0.5, 1.25, 0, 1, 0.25])
    assert found.authenticity == 0.2  # as far as the neighbour is not farther


def test_copies_are_not_authentic_and_noise_is():
    real = points(300, 4)
    assert nearest_real(real, real).authenticity == 0
    assert nearest_real(real, real + 1e-4 * points(300, 4, 1)).authenticity == 0
    assert nearest_real(real, 5 * points(300, 4, 1)).authenticity > 0.9
    twice = torch.cat([real, real])  # every real point has a copy, at distance 0
    assert nearest_real(twice, real).authenticity == 0


@pytest.mark.parametrize(("size", "reflexive"), [(1, 2 / 3), (2, 6 * math.pi / (8 * math.pi + 3 * math.sqrt(3)))])
def test_new_points_of_the_same_law_have_the_known_authenticity(size, reflexive):
    """A point is nearer than the neighbour where the two are each other's nearest (Clark & Evans 1955)."""
    found = [nearest_real(points(1500, size, seed), points(1500, size, seed + 50)).authenticity for seed in range(4)]
    assert np.mean(found) == pytest.approx(1 - reflexive, abs=0.02)


def test_all_manifolds_share_one_pass():
    real, generated = points(90, 3), 1.2 * points(70, 3, 1)
    nearest = standard_manifolds(real, generated)[1]
    distances = torch.cdist(generated, real, compute_mode="donot_use_mm_for_euclid_dist")
    own = torch.cdist(real, real, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(math.inf).amin(1)
    least, index = distances.min(1)
    assert torch.equal(nearest.index, index)
    torch.testing.assert_close(nearest.ratio, least / own[index])
    alone = nearest_real(real, generated)
    assert torch.equal(nearest.index, alone.index)


# --- infinitely many images


def gaussian(count, size=6, seed=0):
    return torch.randn(count, size, generator=generator(seed, "gaussian"), dtype=torch.float64)


TRUTH = FeatureStatistics.restored(10**9, torch.zeros(6), torch.eye(6))  # the exact moments of `gaussian`


def test_the_line_is_scipys():
    x, y = 1 / np.linspace(50, 200, SIZES), np.random.default_rng(0).normal(size=SIZES)
    expected = linregress(x, y)
    assert intercept(x, y) == pytest.approx((expected.intercept, expected.intercept_stderr), rel=1e-9)


def test_extrapolation_takes_away_the_bias_of_few_images():
    """Equal sets: within 2 of its standard errors of 0 mostly, 5 at the worst; the distance itself is far above 0."""
    found = np.array([infinite_distance(gaussian(2000, seed=seed), TRUTH, seed, least=250) for seed in range(6)])
    biased = [FeatureStatistics.of(gaussian(250, seed=seed)).distance(TRUTH) for seed in range(6)]
    ratios = np.abs(found[:, 0]) / found[:, 1]
    assert np.median(ratios) < 2
    assert ratios.max() < 5
    assert abs(found[:, 0].mean()) < 0.1 * np.mean(biased)
    assert min(biased) > 0.03


def test_extrapolation_finds_the_true_distance_and_is_reproducible():
    shifted = gaussian(2000) + 0.5
    found = infinite_distance(shifted, TRUTH, 3, least=250)
    assert found[0] == pytest.approx(6 * 0.25, rel=0.1)
    assert found == infinite_distance(shifted, TRUTH, 3, least=250) != infinite_distance(shifted, TRUTH, 4, least=250)
    with pytest.raises(SintroError, match="400 images; at least 500 are needed"):
        infinite_distance(shifted[:400], TRUTH, least=250)


def test_distances_that_share_a_root_are_those_without():
    real, others = (
        FeatureStatistics.of(gaussian(90)),
        [FeatureStatistics.of(gaussian(40, seed=seed)) for seed in (1, 2)],
    )
    shared = distances_to(real.mean, real.covariance, ((each.mean, each.covariance) for each in others))
    alone = [frechet_distance(each.mean, each.covariance, real.mean, real.covariance) for each in others]
    assert list(shared) == alone


# --- the way between two codes


def test_the_great_circle_has_even_angles_and_the_length_of_its_ends():
    ends = gaussian(2, 5)
    ends = ends / ends.norm(dim=1, keepdim=True)
    way = spherical(ends[0], ends[1], torch.linspace(0, 1, 9, dtype=torch.float64)[:, None])
    torch.testing.assert_close(way[[0, -1]], ends)
    torch.testing.assert_close(way.norm(dim=1), torch.ones(9, dtype=torch.float64))
    angles = (way[1:] * way[:-1]).sum(1).acos()
    torch.testing.assert_close(angles, (ends[0] @ ends[1]).acos().expand(8) / 8)


def test_codes_without_a_plane_are_interpolated_straight():
    start, share = torch.tensor([1.0, 2.0]), torch.tensor([[0.0], [0.5], [1.0]])
    for end in (3 * start, torch.zeros(2), -start):
        torch.testing.assert_close(spherical(start, end, share), start + share * (end - start))
