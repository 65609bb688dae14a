"""The kernel distance: scikit-learn's kernel, what equal sets score, which way it moves; and the floors beside it."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.metrics import METRICS, NotFinite, distances
from sintro.metrics.definitions_images import FLOORS, KERNELS
from sintro.metrics.features import Reference
from sintro.metrics.fid import FeatureStatistics
from sintro.metrics.kernel import kernel_distance, subset_size, unbiased_mmd


def features(count, seed=0, size=12):
    return torch.randn(count, size, generator=generator(seed, "kernel"))


def test_the_estimate_is_scikit_learns_kernel_summed_over_distinct_pairs():
    x, y = features(30).double().numpy(), 1.3 * features(20, 1).double().numpy() + 0.2
    kernels = [polynomial_kernel(*pair, degree=3, gamma=1 / 12, coef0=1) for pair in ((x, x), (y, y), (x, y))]
    distinct = [k[~np.eye(len(k), dtype=bool)].mean() for k in kernels[:2]]
    expected = sum(distinct) - 2 * kernels[2].mean()
    assert unbiased_mmd(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(expected, rel=1e-12)


def test_subsets_are_of_half_the_smaller_set_and_at_most_a_thousand():
    assert [subset_size(*counts) for counts in ((5000, 5000), (360, 5000), (5000, 101))] == [1000, 180, 50]


def test_two_halves_of_one_set_score_0_on_average():
    """Unbiased: over sets drawn anew, its mean is within 3 standard errors of 0, values on either side."""
    values = []
    for seed in range(40):
        both = features(200, seed)
        values.append(kernel_distance(both[:100], both[100:], seed, subsets=10)[0])
    values = np.array(values)
    assert abs(values.mean()) < 3 * values.std(ddof=1) / math.sqrt(len(values))
    assert values.min() < 0 < values.max()


def test_it_grows_with_the_difference_and_is_reproducible():
    real, other = features(400), features(400, 1)
    found = [kernel_distance(real, other + shift)[0] for shift in (0, 0.3, 1)]
    assert abs(found[0]) < 0.05
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.5
    assert kernel_distance(real, 0.1 * other)[0] > 0.01  # collapsed
    assert kernel_distance(real, other, 3) == kernel_distance(real, other, 3) != kernel_distance(real, other, 4)


def test_the_deviation_is_over_the_subsets():
    real, other = features(400), features(400, 1) + 0.5
    few, many = (kernel_distance(real[:n], other[:n], subsets=60)[1] for n in (60, 400))
    assert few > 1.5 * many > 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e200])
def test_features_that_are_not_finite_have_no_distance(bad):
    broken = features(40).double()
    broken[:, 0] = bad
    with pytest.raises(NotFinite, match="kernel distance"):
        kernel_distance(features(40), broken)


@pytest.mark.parametrize(
    ("real", "generated"),
    [(features(3), features(9)), (features(9), features(9)[:, :5]), (features(9)[0], features(9))],
)
def test_bad_input_is_one_line(real, generated):
    with pytest.raises(SintroError, match="at least 4 of each") as caught:
        kernel_distance(real, generated)
    assert "\n" not in str(caught.value)


# --- the floor


@pytest.fixture
def reference(tmp_path):
    """A stored reference of 301 images."""
    found = features(301)
    np.savez(tmp_path / "made.npz", features=found.numpy())
    return Reference(tmp_path / "made.npz", FeatureStatistics.of(found))


def test_the_floor_is_one_half_against_the_other(reference):
    found = reference.features
    first, second = (FeatureStatistics.of(part) for part in (found[:150], found[150:]))
    halves = distances.halves(reference)
    assert halves["distance"] == pytest.approx(first.distance(second))
    assert halves["kernel"] == pytest.approx(kernel_distance(found[:150], found[150:])[0])
    assert abs(halves["kernel"]) < 0.05


def test_the_floor_is_computed_once_and_anew_where_its_file_is_damaged(reference, monkeypatch):
    first = distances.halves(reference)
    path = reference.path.with_suffix(".halves.json")
    for damaged in ("", "{}", "[]", '{"version": 1, "distance": "nan", "kernel": 0}', '{"version": 0}'):
        path.write_text(damaged)
        assert distances.halves(reference) == first
        assert json.loads(path.read_text())["distance"] == first["distance"]
    monkeypatch.setattr(distances, "kernel_distance", lambda *_: pytest.fail("computed again"))
    assert distances.halves(reference) == first


def test_every_distance_names_its_floor():
    for metric, floor in FLOORS.items():
        assert METRICS[floor].direction == "none"
        assert METRICS[floor].form == METRICS[metric].form
        assert METRICS[floor].label.startswith(METRICS[metric].label.removesuffix(" (published)"))
    for kernel in KERNELS.values():
        assert "negative" in METRICS[kernel].definition
        assert METRICS[f"{kernel}_sd"].direction == "none"
