"""The Fréchet distance against closed forms, an independent implementation, and the laws of a distance."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
import torch

from sintro import SintroError
from sintro.metrics import NotFinite
from sintro.metrics.fid import FLUSH_ROWS, FeatureStatistics, frechet_distance, sample_warning


def random_covariance(generator, size, rank=None):
    factor = generator.standard_normal((size, rank or 2 * size))
    return factor @ factor.T / factor.shape[1]


def random_rotation(generator, size):
    return np.linalg.qr(generator.standard_normal((size, size)))[0]


@pytest.fixture
def generator():
    return np.random.default_rng(7)


def test_equal_covariances_leave_the_distance_of_the_means(generator):
    covariance = random_covariance(generator, 12)
    mean1, mean2 = generator.standard_normal((2, 12))
    expected = np.sum((mean1 - mean2) ** 2)
    assert frechet_distance(mean1, covariance, mean2, covariance) == pytest.approx(expected, rel=1e-12)


def test_commuting_covariances(generator):
    rotation = random_rotation(generator, 9)
    values1, values2 = generator.uniform(0.1, 4, (2, 9))
    distance = frechet_distance(
        np.zeros(9), rotation * values1 @ rotation.T, np.zeros(9), rotation * values2 @ rotation.T
    )
    assert distance == pytest.approx(np.sum((np.sqrt(values1) - np.sqrt(values2)) ** 2), rel=1e-12)


def test_one_dimension_is_the_distance_of_mean_and_standard_deviation():
    assert frechet_distance([3.0], [[4.0]], [1.0], [[25.0]]) == pytest.approx((3 - 1) ** 2 + (2 - 5) ** 2)
    assert frechet_distance(3.0, 4.0, 1.0, 25.0) == pytest.approx(13)


def test_agrees_with_the_matrix_root_in_general_position(generator):
    mean1, mean2 = generator.standard_normal((2, 20))
    cov1, cov2 = random_covariance(generator, 20), random_covariance(generator, 20)
    root = scipy.linalg.sqrtm(cov1 @ cov2).real
    expected = np.sum((mean1 - mean2) ** 2) + np.trace(cov1 + cov2 - 2 * root)
    assert frechet_distance(mean1, cov1, mean2, cov2) == pytest.approx(expected, rel=1e-10)


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated")  # pytorch-fid 0.3 calls scipy the old way
def test_agrees_with_pytorch_fid(generator):
    importlib.import_module("sintro.data.vision")  # pytorch-fid imports torchvision
    calculate_frechet_distance = importlib.import_module("pytorch_fid.fid_score").calculate_frechet_distance
    mean1, mean2 = generator.standard_normal((2, 64))
    cov1, cov2 = random_covariance(generator, 64), random_covariance(generator, 64)
    expected = calculate_frechet_distance(mean1, cov1, mean2, cov2)
    assert frechet_distance(mean1, cov1, mean2, cov2) == pytest.approx(expected, rel=1e-9)


def test_rank_deficient_covariances_in_orthogonal_subspaces():
    """Gaussians that live in orthogonal planes share no variance: the cross term is exactly 0."""
    rotation = random_rotation(np.random.default_rng(3), 40)
    plane1, plane2 = rotation[:, :2], rotation[:, 2:4]
    distance = frechet_distance(np.zeros(40), plane1 @ plane1.T, np.zeros(40), plane2 @ plane2.T)
    assert distance == pytest.approx(4, rel=1e-13)


def test_rank_deficient_commuting_covariances_are_exact(generator):
    """As with 5 samples in 200 dimensions. The root of a product of such covariances is good to about 1e-8 only."""
    rotation = random_rotation(generator, 200)
    values1, values2 = np.zeros((2, 200))
    values1[:4], values2[2:6] = (1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)
    expected = np.sum((np.sqrt(values1) - np.sqrt(values2)) ** 2)
    cov1, cov2 = rotation * values1 @ rotation.T, rotation * values2 @ rotation.T
    assert frechet_distance(np.zeros(200), cov1, np.zeros(200), cov2) == pytest.approx(expected, rel=1e-12)


def test_laws_of_a_distance(generator):
    mean1, mean2 = generator.standard_normal((2, 30))
    cov1, cov2 = random_covariance(generator, 30, rank=10), random_covariance(generator, 30)
    there, back = frechet_distance(mean1, cov1, mean2, cov2), frechet_distance(mean2, cov2, mean1, cov1)
    assert there == pytest.approx(back, rel=1e-12)
    assert frechet_distance(mean1, cov1, mean1, cov1) == pytest.approx(0, abs=1e-12 * np.trace(cov1))
    rotation = random_rotation(generator, 30)
    turned = frechet_distance(
        rotation @ mean1, rotation @ cov1 @ rotation.T, rotation @ mean2, rotation @ cov2 @ rotation.T
    )
    assert turned == pytest.approx(there, rel=1e-12)


def test_a_covariance_of_zeros_is_a_point(generator):
    covariance = random_covariance(generator, 6)
    distance = frechet_distance(np.zeros(6), np.zeros((6, 6)), np.zeros(6), covariance)
    assert distance == pytest.approx(np.trace(covariance))


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        (np.zeros(2), np.eye(3), "expected \\[F\\] and \\[F, F\\]"),
        (np.zeros(2), np.array([[1.0, np.nan], [np.nan, 1.0]]), "not finite"),
        (np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]]), "not symmetric"),
        (np.zeros(2), np.diag([1.0, -1.0]), "negative eigenvalue -1"),
        (np.zeros(3), np.eye(3), "the first has 2 features, the second 3"),
    ],
)
def test_what_is_no_gaussian_is_refused(mean, covariance, message):
    threads = torch.get_num_threads()
    with pytest.raises(SintroError, match=message):
        frechet_distance(np.zeros(2), np.eye(2), mean, covariance)
    assert torch.get_num_threads() == threads


def test_statistics_do_not_depend_on_the_batches(generator):
    features = torch.from_numpy(generator.standard_normal((FLUSH_ROWS + 77, 5)))
    statistics = FeatureStatistics(5)
    for rows in features.split(33):
        statistics.update(rows)
    assert statistics.count == len(features)
    np.testing.assert_allclose(statistics.mean, features.mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.covariance, np.cov(features.numpy(), rowvar=False), rtol=1e-12, atol=1e-14)


def test_a_large_offset_costs_no_digits(generator):
    """Sums of squares would leave nothing: (1e7)^2 has no room for a variance of 1e-4 in float64."""
    features = torch.from_numpy(1e7 + 1e-2 * generator.standard_normal((2500, 3)))
    expected = np.cov(features.numpy() - 1e7, rowvar=False)
    np.testing.assert_allclose(FeatureStatistics.of(features).covariance, expected, rtol=1e-6, atol=1e-9)


def test_stored_statistics_come_back(generator):
    statistics = FeatureStatistics.of(torch.from_numpy(generator.standard_normal((50, 3))))
    back = FeatureStatistics.restored(statistics.count, statistics.mean.numpy(), statistics.covariance.numpy())
    assert back.distance(statistics) == pytest.approx(0, abs=1e-12)
    back.update(torch.zeros(5, 3))
    assert back.count == 55


def test_bad_features_are_refused():
    statistics = FeatureStatistics(3)
    with pytest.raises(SintroError, match="expected \\[batch, 3\\]"):
        statistics.update(torch.zeros(2, 4))
    statistics.update(torch.zeros(1, 3))
    with pytest.raises(SintroError, match="at least 2 images, got 1"):
        _ = statistics.covariance


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
def test_features_that_are_not_finite_never_have_a_distance(bad, generator):
    """1e200 is finite and its square is not: infinity minus infinity must not come out as 0."""
    real = FeatureStatistics.of(torch.from_numpy(generator.standard_normal((50, 3))))
    features = torch.from_numpy(generator.standard_normal((50, 3)))
    for broken in (torch.full_like(features, bad), features.where(torch.arange(50)[:, None] > 0, bad)):
        with pytest.raises(NotFinite):
            FeatureStatistics.of(broken).distance(real)
    with pytest.raises(NotFinite):
        frechet_distance(np.full(2, bad), np.eye(2), np.zeros(2), np.eye(2))


def test_distances_are_computed_by_one_thread_and_processes_do_not_wait_for_each_other(monkeypatch, generator):
    used, original = [], torch.linalg.svdvals
    monkeypatch.setattr(torch.linalg, "svdvals", lambda a: used.append(torch.get_num_threads()) or original(a))
    covariance = random_covariance(generator, 8)
    frechet_distance(np.zeros(8), covariance, np.zeros(8), covariance)
    assert used == [1]
    code = "import torch, sintro.metrics.fid as fid; a = torch.randn(600, 300).double(); "
    code += "print(fid.frechet_distance(a.mean(0), a.T.cov(), a.mean(0), a.T.cov()) < 1e-6)"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=300)[0].strip() for process in running] == ["True"] * 4


def test_few_images_come_with_a_warning():
    assert "rank-deficient" in sample_warning(100, 2048)
    assert "rank-deficient" in sample_warning(64, 64)
    assert "fewer than 2048" in sample_warning(500, 64)
    assert sample_warning(50_000, 2048) is None
